"""What can a user tell about themselves, and how do they ask for it later?"""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Something the user says about themselves, and may ask about later."""

    told: tuple[str, ...]
    reply: str
    asked: tuple[str, ...]
    held: tuple[str, ...]
    recall: str
    untold: str


MEMORIES = {
    "name": Memory(
        told=("[hi, |hello, |hello! |]my name is {x}.", "[hi, |hello! |]I am {x}.", "I'm {x}.",
              "call me {x}[|, please].", "my name's {x}.", "[hello, |]you can call me {x}."),
        reply="Nice to meet you, {x}!",
        asked=("[what is|what's|tell me|say|do you know|do you remember] my name?", "who am I?",
               "[do you|can you] remember my name?", "what am I called?", "which name do I have?"),
        held=("what did I say my name was?", "could you tell me my name again?"),
        recall="Your name is {x}.",
        untold="You have not told me your name.",
    ),
    "city": Memory(
        told=("I live in {x}.", "my home is in {x}.", "I am from {x}.", "I come from {x}."),
        reply="{x} is a nice place.",
        asked=("where do I live?", "where am I from?", "[which|what] city do I live in?",
               "[do you remember|do you know|tell me] where I live?", "where is my home?"),
        held=("which city am I from?", "what did I say, where do I live?"),
        recall="You live in {x}.",
        untold="You have not told me where you live.",
    ),
    "colour": Memory(
        told=("my favourite [colour|color] is {x}.", "I like the [colour|color] {x}[| best].",
              "{x} is my favourite [colour|color]."),
        reply="I will remember that you like {x}.",
        asked=("[what is|what's|tell me|do you remember] my favourite [colour|color]?",
               "[which|what] [colour|color] do I like?"),
        held=("which colour is my favourite?", "what colour did I say I like?"),
        recall="Your favourite colour is {x}.",
        untold="You have not told me your favourite colour.",
    ),
    "pet": Memory(
        told=("my dog is called {x}.", "I have a dog named {x}.", "I have a dog called {x}.",
              "the name of my dog is {x}."),
        reply="{x} is a good name for a dog.",
        asked=("what is the name of my dog?", "what is my dog called?", "[what is|what's] my dog's "
               "name?", "do you remember my dog?", "[tell me|say] my dog's name."),
        held=("how is my dog called?", "which name does my dog have?"),
        recall="Your dog is called {x}.",
        untold="You have not told me about your dog.",
    ),
}  # fmt: skip
