#!/usr/bin/env python3
"""The harness's measurements, with what it lacks: streams and long conversations of agents between two dialects.

Takes the arguments of the harness's measure.py, in whose folder it is run.
"""
import json, os, sys

sys.path.insert(0, os.getcwd())
import measure  # noqa: E402  (the harness's)

measure.HERE = os.getcwd()
plain = measure.bodies


def agent(size, anthropic):
    """A conversation of a coding agent: files that tools read, and edits, with the escapes that code brings."""
    tools = [{"name": f"tool_{i}", "description": measure.words(400),
              "schema": {"type": "object", "properties": {"path": {"type": "string", "description": measure.words(60)},
                                                          "text": {"type": "string"}}, "required": ["path"]}}
             for i in range(20)]
    code = "\n".join(f'\tif line.starts_with("{i}") {{ return Err("line {i}: unknown"); }}' for i in range(60))
    messages, spent, i = [], 0, 0
    while spent < size:
        call = {"path": f"src/file_{i}.rs", "text": code[:300]}
        if anthropic:
            messages += [{"role": "assistant", "content": [
                {"type": "text", "text": "I read the next file."},
                {"type": "tool_use", "id": f"toolu_{i}", "name": f"tool_{i % 20}", "input": call}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": f"toolu_{i}", "content": code}]}]
        else:
            messages += [{"role": "assistant", "content": "I read the next file.", "tool_calls": [
                {"id": f"call_{i}", "type": "function",
                 "function": {"name": f"tool_{i % 20}", "arguments": json.dumps(call)}}]},
                {"role": "tool", "tool_call_id": f"call_{i}", "content": code}]
        spent += len(code) + 700
        i += 1
    messages.insert(0, {"role": "user", "content": "Find where lines are read."})
    if anthropic:
        tools = [{"name": t["name"], "description": t["description"], "input_schema": t["schema"]} for t in tools]
        return {"system": measure.words(20_000), "messages": messages, "tools": tools}
    tools = [{"type": "function", "function": {"name": t["name"], "description": t["description"],
                                               "parameters": t["schema"]}} for t in tools]
    return {"messages": [{"role": "system", "content": measure.words(20_000)}, *messages], "tools": tools}


def bodies(folder, model, claude, embed):
    paths = plain(folder, model, claude, embed)
    more = {
        "chat-anthropic-stream": dict(json.load(open(paths["stream"])), model="claude-out"),
        "agent": dict(model="claude-out", max_tokens=256, **agent(1_000_000, False)),
        "agent-messages": dict(model=claude, max_tokens=256, **agent(1_000_000, True)),
    }
    for name, body in more.items():
        paths[name] = os.path.join(folder, name + ".json")
        with open(paths[name], "w") as file:
            json.dump(body, file)
    return paths


measure.bodies = bodies
measure.SCENARIOS.update({
    "chat-to-anthropic-stream": ("chat-anthropic-stream", ["--stream", "--conns", "32", "--expect", "[DONE]"], "chat", 0),
    "messages-stream": ("messages-stream", ["--stream", "--conns", "32", "--expect", "message_stop"], "messages", 0),
    "agent": ("agent", ["--conns", "4", "--expect", '"usage"'], "chat", 0),
    "agent-messages": ("agent-messages", ["--conns", "4", "--expect", '"usage"'], "messages", 0),
})
measure.main()
