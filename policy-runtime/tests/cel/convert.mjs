// Makes cases.json of the simple tests of the CEL specification, as the npm package `@bufbuild/cel-spec` ships them:
//
//     npm pack @bufbuild/cel-spec && tar xzf bufbuild-cel-spec-*.tgz
//     node convert.mjs package > cases.json
//
// Left out, and counted by section in `left_out`: what needs a protobuf message or enum, and what only asks a type checker.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const folder = process.argv[2];
const { version } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
// The package has no `type` for this folder: its text is read as a module.
const text = readFileSync(`${folder}/dist/esm/testdata/conformance.js`, "utf8");
const { tests } = await import(`data:text/javascript;base64,${Buffer.from(text).toString("base64")}`);

const MESSAGES = /google\.protobuf|cel\.expr|TestAllTypes|TestRequired|GlobalEnum|NestedEnum|NestedTestAllTypes|messageType|objectValue|enumValue|\w+Value\{|proto\.(get|has)Ext/;
const SECTIONS_OF_MESSAGES = ["dynamic", "enums", "proto2", "proto2_ext", "proto3", "wrappers"];

function value(v) {
  const [[kind, inner]] = Object.entries(v);
  switch (kind) {
    case "int64Value": return { int: inner };
    case "uint64Value": return { uint: inner };
    case "doubleValue": return { double: inner };
    case "stringValue": return { text: inner };
    case "bytesValue": return { bytes: [...Buffer.from(inner, "base64")] };
    case "boolValue": return { bool: inner };
    case "nullValue": return { null: true };
    case "typeValue": return { type: inner };
    case "listValue": return { list: (inner.values ?? []).map(value) };
    case "mapValue": return { map: (inner.entries ?? []).map((e) => [value(e.key), value(e.value)]) };
    default: throw new Error(`a value of the kind ${kind}`);
  }
}

const lines = [];
const leftOut = {};
const seen = new Set();

function test(section, suite, t) {
  // The package of the messages: without messages, it means nothing.
  const container = t.container?.startsWith("cel.expr") || t.container?.startsWith("google") ? undefined : t.container;
  if (t.checkOnly || SECTIONS_OF_MESSAGES.includes(section) || MESSAGES.test(JSON.stringify({ ...t, container, description: "" }))) {
    leftOut[section] = (leftOut[section] ?? 0) + 1;
    return;
  }
  let id = `${section}/${suite}/${t.name}`;
  for (let n = 2; seen.has(id); n++) id = `${section}/${suite}/${t.name}#${n}`;
  seen.add(id);
  const out = { id, expr: t.expr };
  if (container) out.container = container;
  if (t.bindings) {
    out.with = Object.fromEntries(Object.entries(t.bindings).map(([name, bound]) => [name, value(bound.value)]));
  }
  const is = t.typedResult?.result ?? t.value;
  if (t.evalError) out.error = true;
  else out.is = is ? value(is) : { bool: true };
  lines.push(JSON.stringify(out));
}

for (const section of tests.suites) {
  for (const suite of section.suites ?? []) {
    for (const one of suite.tests ?? []) test(section.name, suite.name, one.original);
  }
}
console.log(`{\n"source": "@bufbuild/cel-spec ${version}, of the CEL specification's tests/simple/testdata; Apache-2.0",`);
console.log(`"left_out": ${JSON.stringify(leftOut)},\n"cases": [\n${lines.join(",\n")}\n]}`);
