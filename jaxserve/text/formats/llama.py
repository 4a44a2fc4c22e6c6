"""Llama 3.1 and later: bare JSON objects, or a list of Python calls."""

from jaxserve.text.calls.description import JSONCall, Name, PythonArguments, ToolFormat

LLAMA_JSON = ToolFormat(
    name="llama-json",
    markers=('"parameters": dictionary of argument name and its value',),
    begins=("<|python_tag|>", "<|python_start|>"),
    at_start=("",),
    call=(JSONCall(arguments="parameters", needs_arguments=True),),
    between="; ",
    strays=("<|python_end|>", "<|eom_id|>"),
    many_per_run=True,
)

PYTHONIC = ToolFormat(
    name="pythonic",
    markers=("[func_name1(params_name1=",),
    begins=("<|python_start|> [",),
    at_start=("[",),
    call=(Name(stops="("), "(", PythonArguments()),
    between=", ",
    end="]",
    strays=("<|python_end|>",),
    many_per_run=True,
)
