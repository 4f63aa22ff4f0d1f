"""Where the API is as strict as its model, and where it is lenient: both directions of each rule."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import pytest
from anthropic.types.tool_union_param import ToolUnionParam

from inturn.testing.claude.answering import Api
from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.script import Reply

MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
NEW, OLD = "claude-sonnet-5-5", "claude-sonnet-4-5"
COMPACT = frozenset({"compact-2026-09-04"})
Body = dict[str, Any]


def text(said: str, **more: Any) -> Body:
    return {"type": "text", "text": said, **more}


def tool(name: str = "add", **more: Any) -> Body:
    return {"name": name, "input_schema": {"type": "object", "properties": {}}, **more}


def strict_tool(name: str = "add", properties: Body | None = None) -> Body:
    schema = {"type": "object", "properties": properties or {}, "additionalProperties": False}
    return {"name": name, "input_schema": schema, "strict": True}


def user(*blocks: Any) -> Body:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> Body:
    return {"role": "assistant", "content": list(blocks)}


def body(*messages: Any, **more: Any) -> Body:
    said = list(messages) or [{"role": "user", "content": "hi"}]
    return {"model": NEW, "max_tokens": 100, "messages": said, "tools": [tool()], **more}


def png(width: int, height: int = 1) -> Body:
    data = b"\x89PNG\r\n\x1a\n" + b"\0" * 8 + struct.pack(">II", width, height)
    return image(data)


def image(data: bytes = b"hi") -> Body:
    encoded = base64.b64encode(data).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": encoded}}


def pdf(pages: int, **more: Any) -> Body:
    data = base64.b64encode(b"<< /Type /Pages >>" + b"<< /Type /Page >>" * pages).decode()
    source = {"type": "base64", "media_type": "application/pdf", "data": data}
    return {"type": "document", "source": source, **more}


def result(content: Any) -> list[Body]:
    use = {"type": "tool_use", "id": "a", "name": "add", "input": {}}
    given = {"type": "tool_result", "tool_use_id": "a", "content": content}
    return [user(text("x")), assistant(use), user(given)]


def told(model: str) -> Body:
    return body(user(text("x")), {"role": "system", "content": "z"}, model=model)


SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
WEB = {"type": "web_search_20260318", "name": "web_search", "max_uses": 3}

PAIRS: dict[str, tuple[Body, Body, str]] = {
    "instructions by model": (told("claude-opus-4-8"), told("claude-opus-4-7"), "not supported on this model"),
    "instructions, unknown model": (told("claude-sonnet-5"), told("claude-opus-9"), "not supported on this model"),
    "thinking off": (
        body(thinking={"type": "disabled"}, model="claude-sonnet-5"),
        body(thinking={"type": "disabled"}),
        "thinking.type: 'disabled'",
    ),
    "thinking by a budget": (
        body(thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000, model="claude-opus-4-6"),
        body(thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000, model="claude-opus-4-7"),
        "thinking.type: 'enabled'",
    ),
    "thinking as it likes": (
        body(thinking={"type": "adaptive"}),
        body(thinking={"type": "adaptive"}, model="claude-haiku-4-5"),
        "thinking.type: 'adaptive'",
    ),
    "effort": (
        body(output_config={"effort": "low"}),
        body(output_config={"effort": "low"}, model="claude-haiku-4-5"),
        "output_config.effort: 'low'",
    ),
    "the highest effort without thinking": (
        body(output_config={"effort": "max"}, model="claude-opus-5"),
        body(output_config={"effort": "max"}, model="claude-opus-5", thinking={"type": "disabled"}),
        "thinking turned off",
    ),
    "a forced call": (
        body(tool_choice={"type": "any"}, model="claude-sonnet-5"),
        body(tool_choice={"type": "any"}),
        "tool_choice: type 'any'",
    ),
    "output tokens": (body(max_tokens=128_000), body(max_tokens=128_001), "128001 > 128000"),
    "output tokens of an older model": (
        body(max_tokens=64_000, model=OLD),
        body(max_tokens=64_001, model=OLD),
        "maximum allowed number of output tokens",
    ),
    "property keys": (
        body(tools=[tool(input_schema={"type": "object", "properties": {"a.b-c_9": {}}})]),
        body(tools=[tool(input_schema={"type": "object", "properties": {"größe": {}}})]),
        "Property keys should match pattern",
    ),
    "property keys with brackets": (
        body(tools=[tool(input_schema={"type": "object", "properties": {"x" * 64: {}}})]),
        body(tools=[tool(input_schema={"type": "object", "properties": {"filter[id]": {}}})]),
        "Property keys should match pattern",
    ),
    "strict tools": (
        body(tools=[strict_tool(f"t{n}") for n in range(20)]),
        body(tools=[strict_tool(f"t{n}") for n in range(21)]),
        "at most 20 strict tools",
    ),
    "closed strict tools": (
        body(tools=[strict_tool()]),
        body(tools=[tool(strict=True)]),
        "'additionalProperties' must be explicitly set to false",
    ),
    "optional parameters of strict tools": (
        body(tools=[strict_tool(properties={f"p{n}": {} for n in range(24)})]),
        body(tools=[strict_tool(properties={f"p{n}": {} for n in range(25)})]),
        "optional parameters",
    ),
    "unions of strict tools": (
        body(tools=[strict_tool(properties={f"p{n}": {"type": ["string", "null"]} for n in range(16)})]),
        body(tools=[strict_tool(properties={f"p{n}": {"type": ["string", "null"]} for n in range(17)})]),
        "union types",
    ),
    "recursion of strict tools": (
        body(tools=[{**strict_tool(), "input_schema": {**strict_tool()["input_schema"], "$defs": {"n": {}}}}]),
        body(
            tools=[
                {
                    "name": "a",
                    "strict": True,
                    "input_schema": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {"n": {"$ref": "#/$defs/n"}},
                        "$defs": {"n": {"anyOf": [{"$ref": "#/$defs/n"}]}},
                    },
                }
            ]
        ),
        "recursive",
    ),
    "deferred tools": (
        body(tools=[tool(), tool("b", defer_loading=True)]),
        body(tools=[tool(defer_loading=True)]),
        "At least one tool must have defer_loading=false",
    ),
    "a format": (
        body(output_config={"format": {"type": "json_schema", "schema": {}}}),
        body(output_config={"format": {"type": "json_schema"}}),
        "schema: Field required",
    ),
    "no choice": (
        body(tool_choice={"type": "none"}),
        body(tool_choice={"type": "none", "name": "add"}),
        "Extra inputs are not permitted",
    ),
    "a marker of both": (
        body(user(text("x", cache_control=HOUR)), cache_control=HOUR),
        body(user(text("x", cache_control=HOUR)), cache_control=MARK),
        "another ttl",
    ),
    "four markers and the request's own on the last of them": (
        body(
            user(*(text(str(n), cache_control=MARK) for n in range(3))),
            system=[text("s", cache_control=MARK)],
            cache_control=MARK,
        ),
        body(
            user(*(text(str(n), cache_control=MARK) for n in range(4))),
            system=[text("s", cache_control=MARK)],
            cache_control=MARK,
        ),
        "Found 5",
    ),
    "a profile": (body(), body(user_profile_id="p"), "Extra inputs are not permitted"),
    "a workspace": (body(), body(workspace_id="w"), "Extra inputs are not permitted"),
    "a blank text": (
        body(user(text("x"), text(" "))),
        body(user(text(" "), text("\n"))),
        "must contain non-whitespace text",
    ),
    "a blank text of the model's": (
        body(user(text("x")), assistant(text("y"), text("\n\n")), user(text("z"))),
        body(user(text("x")), assistant(text("\n\n")), user(text("z"))),
        "must contain non-whitespace text",
    ),
    "an empty text beside another": (body(), body(user(text("x"), text(""))), "must be non-empty"),
    "a prefilled answer": (
        body(user(text("x")), assistant(text("y")), model=OLD),
        body(user(text("x")), assistant(text("y")), model="claude-sonnet-4-6"),
        "assistant message prefill",
    ),
    "a prefilled answer's end": (
        body(user(text("x")), assistant(text("y")), model=OLD),
        body(user(text("x")), assistant(text("y ")), model=OLD),
        "trailing whitespace",
    ),
    "a search result": (
        body(user({"type": "search_result", "source": "s", "title": "t", "content": [text("x")]})),
        body(user({"type": "search_result", "source": "s", "content": [text("x")]})),
        "title: Field required",
    ),
    "a file for the container": (
        body(user(text("x"), {"type": "container_upload", "file_id": "f"})),
        body(user(text("x"), {"type": "container_upload"})),
        "file_id: Field required",
    ),
    "a document of blocks": (
        body(user({"type": "document", "source": {"type": "content", "content": [text("x"), image()]}})),
        body(user({"type": "document", "source": {"type": "content", "content": [FOUND]}})),
        "does not match any of the expected tags",
    ),
    "an image's transformations": (
        body(user({**image(), "transformations": {"oversized_image": "error"}})),
        body(user({**image(), "transformations": {"crop": 1}})),
        "Extra inputs are not permitted",
    ),
    "what a result may hold": (
        body(*result([{"type": "tool_reference", "tool_name": "add"}, {"type": "browser_state", "tabs": []}])),
        body(*result([{"type": "container_upload", "file_id": "f"}])),
        "does not match any of the expected tags",
    ),
    "an image of a kind": (
        body(user(image())),
        body(user({"type": "image", "source": {**image()["source"], "media_type": "image/tiff"}})),
        "media_type",
    ),
    "a server tool's call": (
        body(user(text("x")), assistant(SEARCH, FOUND, text("y")), user(text("z")), tools=[WEB]),
        body(user(text("x")), assistant(SEARCH, text("y")), user(text("z")), tools=[WEB]),
        "without a corresponding result block",
    ),
    "a server tool's result": (
        body(user(text("x")), assistant(SEARCH, FOUND, text("y")), user(text("z")), tools=[WEB]),
        body(user(text("x")), assistant(FOUND, SEARCH, text("y")), user(text("z")), tools=[WEB]),
        "unexpected `tool_use_id`",
    ),
    "instructions behind a server tool's result": (
        body(user(text("x")), assistant(text("y"), SEARCH, FOUND), {"role": "system", "content": "z"}, tools=[WEB]),
        body(user(text("x")), assistant(SEARCH, FOUND, text("y")), {"role": "system", "content": "z"}, tools=[WEB]),
        "must follow a `user` message",
    ),
    "a tool of the API's": (body(tools=[WEB]), body(tools=[{**WEB, "x": 1}]), "x: Extra inputs are not permitted"),
    "its name": (body(tools=[WEB]), body(tools=[{**WEB, "name": "search"}]), "Input should be 'web_search'"),
    "its type": (body(tools=[WEB]), body(tools=[{**WEB, "type": "web_search_1999"}]), "no type of a tool"),
    "images": (body(user(*[image()] * 600)), body(user(*[image()] * 601)), "too many images: 601 > 600"),
    "images of an older model": (
        body(user(*[image()] * 100), model=OLD),
        body(user(*[image()] * 101), model=OLD),
        "too many images",
    ),
    "images within results": (
        body(*result([image()] * 600)),
        body(*result([image()] * 601)),
        "too many images",
    ),
    "an image's size": (
        body(user(image(b"x" * 5_242_880))),
        body(user(image(b"x" * 5_242_881))),
        "image exceeds 5 MB maximum",
    ),
    "an image's edge": (body(user(png(8000))), body(user(png(1, 8001))), "8000 pixels"),
    "an edge of many images": (body(user(*[png(2000)] * 21)), body(user(*[png(2001)] * 21)), "2000 pixels"),
    "pages": (body(user(pdf(600))), body(user(pdf(400), pdf(201))), "A maximum of 600 PDF pages"),
    "citations": (
        body(user(pdf(1, citations={"enabled": True}), pdf(1, citations={"enabled": True}))),
        body(user(pdf(1, citations={"enabled": True}), pdf(1))),
        "citations must be enabled on all documents or none",
    ),
    "an address": (
        body(user({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}})),
        body(user({"type": "image", "source": {"type": "url", "url": "https://gone.invalid/a.png"}})),
        "Unable to download the file",
    ),
}


@pytest.mark.parametrize("accepted", [pair[0] for pair in PAIRS.values()], ids=PAIRS.keys())
def test_what_the_api_takes_is_taken(accepted: Body) -> None:
    Api().judge(accepted)


@pytest.mark.parametrize(("refused", "why"), [pair[1:] for pair in PAIRS.values()], ids=PAIRS.keys())
def test_what_the_api_refuses_is_refused(refused: Body, why: str) -> None:
    with pytest.raises(Rejection) as rejection:
        Api().judge(refused)
    assert why in rejection.value.message


def test_every_tool_that_the_sdk_knows_is_taken_with_all_of_its_fields() -> None:
    known = [kind for kind in get_args(ToolUnionParam) if kind.__name__ != "ToolParam"]
    assert len(known) >= 20
    for kind in known:
        hints = get_type_hints(kind)
        fields = {name: None for name in hints if name not in ("type", "name", "defer_loading")}
        for type_ in get_args(hints["type"]):
            made = {**fields, "type": type_}
            if "name" in hints:
                made["name"] = get_args(hints["name"])[0]
            Api().judge(body(tools=[made, tool()]))


def answered(api: Api, asked: Body, **how: Any) -> Body:
    message, _ = api.answer(api.judge(asked, **how))
    return message


def test_what_was_refused_is_refused_until_it_is_gone() -> None:
    api = Api()
    refused = [user(text("build a bomb [[stop refusal]]"))]
    assert answered(api, body(*refused))["stop_reason"] == "refusal"
    still = answered(api, body(*refused, assistant(text("ok")), user(text("hi"))))
    assert (still["stop_reason"], still["content"]) == ("refusal", [])
    assert answered(api, body(user(text("hi"))))["stop_reason"] == "end_turn"
    assert answered(api, body(*refused, user(text("hi"))))["stop_reason"] == "refusal"


def test_what_was_said_before_it_was_refused_is_not_refused_for_it() -> None:
    api = Api()
    first = [user(text("hi")), assistant(text("hello"))]
    api.replies.extend([Reply(stop="refusal")])
    assert answered(api, body(*first, user(text("hi"))))["stop_reason"] == "refusal"
    assert answered(api, body(*first, user(text("well?"))))["stop_reason"] == "end_turn"
    assert answered(api, body(*first, user(text("hi"), text("well?"))))["stop_reason"] == "refusal"


def test_a_refused_result_is_refused_until_it_is_gone() -> None:
    api = Api()
    api.replies.extend([Reply(stop="refusal")])
    asked = result("how to")
    assert answered(api, body(*asked))["stop_reason"] == "refusal"
    later = [assistant(text("ok")), user(text("hi"))]
    assert answered(api, body(*asked, *later))["stop_reason"] == "refusal"
    assert answered(api, body(*result("nothing"), *later))["stop_reason"] == "end_turn"


def test_zero_tokens_warm_the_cache_and_use_no_reply() -> None:
    api = Api()
    api.replies.extend([Reply(text="later")])
    warmed = answered(api, body(max_tokens=0, cache_control=MARK))
    assert (warmed["content"], warmed["stop_reason"], warmed["usage"]["output_tokens"]) == ([], "max_tokens", 0)
    assert warmed["usage"]["cache_creation_input_tokens"] > 0
    said = answered(api, body(cache_control=MARK))
    assert said["usage"]["cache_read_input_tokens"] > 0
    assert said["content"][-1]["text"] == "later"


def test_thinking_of_another_model_is_refused() -> None:
    api = Api()
    said = answered(api, body())["content"]
    api.judge(body(user(text("hi")), assistant(*said), user(text("go"))))
    api.judge(body(user(text("hi")), assistant(*said), user(text("go")), model=f"{NEW}-20260929"))
    with pytest.raises(Rejection, match="Invalid `signature`"):
        api.judge(body(user(text("hi")), assistant(*said), user(text("go")), model="claude-opus-5-5"))


def test_a_model_that_binds_no_thinking_takes_it_elsewhere() -> None:
    api = Api()
    said = answered(api, body(model="claude-opus-5"))["content"]
    api.judge(body(user(text("ho")), assistant(*said), user(text("go")), model="claude-opus-5"))


INTERLEAVED = [
    {"type": "thinking", "thinking": "first"},
    {"type": "redacted_thinking"},
    text("I search.", citations=None),
    {"type": "server_tool_use", "name": "web_search", "input": {"query": "x"}},
    {"type": "web_search_tool_result", "content": []},
    {"type": "thinking", "thinking": "second"},
    text("Found."),
    {"type": "tool_use", "name": "add", "input": {}},
]


def test_scripted_blocks_go_back_as_they_came_and_no_other_way() -> None:
    api = Api()
    api.replies.extend([Reply(content=INTERLEAVED)])
    asked = body(tools=[tool(), WEB])
    message = answered(api, asked)
    content = message["content"]
    assert message["stop_reason"] == "tool_use"
    assert message["usage"]["server_tool_use"] == {"web_search_requests": 1, "web_fetch_requests": 0}
    given = user({"type": "tool_result", "tool_use_id": content[-1]["id"], "content": "3"})
    again = {**asked, "messages": [*asked["messages"], assistant(*content), given]}
    api.judge(again)
    without = [*content[:2], *content[3:]]
    with pytest.raises(Rejection, match="bound to a different conversation"):
        api.judge({**asked, "messages": [*asked["messages"], assistant(*without), given]})
    altered = [content[0], {**content[1], "data": "x" + content[1]["data"]}, *content[2:]]
    with pytest.raises(Rejection, match="Invalid `data` in `redacted_thinking` block"):
        api.judge({**asked, "messages": [*asked["messages"], assistant(*altered), given]})


@pytest.mark.parametrize(
    "paused",
    [
        [{"type": "thinking", "thinking": "let me search"}],
        [text("working"), {"type": "tool_use", "name": "add", "input": {}}],
        [{"type": "server_tool_use", "name": "web_search", "input": {}}],
    ],
)
def test_a_paused_answer_goes_back_unchanged_and_in_no_other_conversation(paused: list[Body]) -> None:
    api = Api()
    api.replies.extend([Reply(content=paused, stop="pause_turn")])
    asked = body(tools=[tool(), WEB])
    content = answered(api, asked)["content"]
    api.judge({**asked, "messages": [*asked["messages"], assistant(*content)]})
    with pytest.raises(Rejection):
        api.judge({**asked, "messages": [user(text("other")), assistant(*content)]})


def test_an_address_that_expired_is_refused_from_then_on() -> None:
    api = Api()
    asked = body(user({"type": "image", "source": {"type": "url", "url": "https://a.example/b?sig=1"}}))
    api.judge(asked)
    api.memory.gone.add("https://a.example/b?sig=1")
    with pytest.raises(Rejection, match="Unable to download"):
        api.judge(asked)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda asked: asked, None),
        (lambda asked: {**asked, "model": "claude-opus-5-5"}, "model_changed"),
        (lambda asked: {**asked, "system": "b"}, "system_changed"),
        (lambda asked: {**asked, "tools": [tool("b")]}, "tools_changed"),
        (lambda asked: {**asked, "messages": [user(text("ho"))]}, "messages_changed"),
    ],
)
def test_diagnostics_name_what_changed_first(change: Callable[[Body], Body], reason: str | None) -> None:
    api = Api()
    first = answered(api, body(system="a"))
    assert "diagnostics" not in first
    asked = {**change(body(system="a")), "diagnostics": {"previous_message_id": first["id"]}}
    found = answered(api, asked)["diagnostics"]["cache_miss_reason"]
    assert (found and found["type"]) == reason
    asked["diagnostics"] = {"previous_message_id": "msg_x"}
    assert answered(api, asked)["diagnostics"]["cache_miss_reason"]["type"] == "previous_message_not_found"


def compacting(*messages: Any, **more: Any) -> Body:
    return body(*messages, compaction={"type": "summarize"}, **more)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (compacting(model="claude-haiku-4-5"), "not supported on this model"),
        (compacting(stop_sequences=["x"]), "cannot be combined with `stop_sequences`"),
        (compacting(output_config={"format": {"type": "json_schema", "schema": {}}}), "output_config.format"),
        (compacting(tool_choice={"type": "any"}, model="claude-opus-4-8"), "forces tool use"),
        (compacting(context_management={"edits": []}), "cannot be combined with `context_management`"),
        (
            compacting(
                user(text("x")), assistant({"type": "tool_use", "id": "a", "name": "add", "input": {}}), stream=True
            ),
            "open tool calls",
        ),
    ],
)
def test_a_summary_is_refused_beside_other_wishes(asked: Body, why: str) -> None:
    with pytest.raises(Rejection, match=why):
        Api().judge(asked, betas=COMPACT | {"context-management-2025-06-27"})


def test_a_beta_field_goes_with_its_header_only() -> None:
    for field, header in [
        ("context_management", "context-management-2025-06-27"),
        ("fallbacks", "server-side-fallback-2026-07-01"),
        ("mcp_servers", "mcp-client-2025-11-20"),
        ("thread", "message-threads-2026-08-12"),
    ]:
        asked = body(**{field: [] if field in ("fallbacks", "mcp_servers") else {}})
        Api().judge(asked, betas={header})
        with pytest.raises(Rejection, match="Extra inputs are not permitted"):
            Api().judge(asked)


def compacted(api: Api) -> tuple[list[Body], Body, Body]:
    """A conversation, the API's summary of its first half, and the answer that was kept."""
    first = user(text("one"))
    kept = assistant(*answered(api, body(first, system="s"))["content"])
    message = answered(api, compacting(first, system="s"), betas=COMPACT)
    assert message["stop_reason"] == "compaction"
    [block] = message["content"]
    return [first], assistant(block), kept


def test_thinking_behind_a_summary_of_the_apis_stays_valid() -> None:
    api = Api()
    _, block, kept = compacted(api)
    api.judge(body(block, kept, user(text("go")), system="s"), betas=COMPACT)
    api.judge(body(block, user(text("go")), system="s"), betas=COMPACT)


def test_thinking_behind_another_summary_or_another_prompt_is_refused() -> None:
    api = Api()
    _, block, kept = compacted(api)
    for asked in (
        body(user(text("In short: one.")), kept, user(text("go")), system="s"),
        body(block, kept, user(text("go")), system="t"),
        body(block, user(text("between")), kept, user(text("go")), system="s"),
    ):
        with pytest.raises(Rejection, match="bound to a different conversation"):
            api.judge(asked, betas=COMPACT)


def test_a_summary_stands_first_alone_and_unaltered() -> None:
    api = Api()
    _, block, _ = compacted(api)
    inner = block["content"][0]
    for messages, code in [
        ([block, block, user(text("go"))], "compaction_block_ambiguous"),
        ([user(text("x")), block, user(text("go"))], "compaction_block_misplaced"),
        ([assistant({**inner, "content": "x"}), user(text("go"))], "compaction_content_mismatch"),
        ([assistant({**inner, "signature": "x"}), user(text("go"))], "compaction_signature_invalid"),
    ]:
        with pytest.raises(Rejection) as rejection:
            api.judge(body(*messages, system="s"), betas=COMPACT)
        assert rejection.value.code == code
    with pytest.raises(Rejection, match="beta header"):
        api.judge(body(block, user(text("go")), system="s"))


def test_a_conversation_that_holds_only_a_summary_has_nothing_to_summarise() -> None:
    api = Api()
    _, block, _ = compacted(api)
    with pytest.raises(Rejection) as rejection:
        api.judge(compacting(block, system="s"), betas=COMPACT)
    assert rejection.value.code == "compaction_nothing_to_summarize"
