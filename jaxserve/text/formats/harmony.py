"""gpt-oss: messages with headers, which name a channel or a recipient (harmony)."""

from jaxserve.text.calls.channels import CALL, CHANNEL, CONSTRAIN, END, MARKERS, MESSAGE, START
from jaxserve.text.calls.description import Arguments, Name, ReasoningFormat, ToolFormat

HARMONY = ToolFormat(
    name="harmony",
    markers=(CHANNEL,),
    begins=(f"{CHANNEL}commentary to=functions.",),
    call=(Name(stops=" <"), f" {CONSTRAIN}json{MESSAGE}", Arguments()),
    strays=MARKERS,
    channels=True,
)

HARMONY_ANALYSIS = ReasoningFormat(
    name="harmony",
    markers=(CHANNEL,),
    opens=(f"{CHANNEL}analysis{MESSAGE}",),
    closes=(f"{END}{START}assistant",),
    dropped=(f"{CHANNEL}final{MESSAGE}", CALL),
    channels=True,
)
