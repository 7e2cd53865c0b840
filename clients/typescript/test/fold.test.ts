import assert from "node:assert/strict";
import { test } from "node:test";

import { fold, nothing, type AnyEvent, type Folded } from "../src/index.js";

const failure = (section: string, element?: string | number) => ({
  section,
  code: "upstream_timeout",
  upstream: "a",
  status: null,
  retryable: true,
  detail: "No answer within 3 s.",
  ...(element !== undefined && { element }),
});
const ok = { state: "ok" } as const;

function folded(events: AnyEvent[]): Folded {
  return events.reduce(fold, nothing());
}

test("a section replaces what was said of it before", () => {
  const document = folded([
    { event: "section", section: "a", data: 1, meta: ok, errors: [failure("a")] },
    { event: "section", section: "b", data: 2, meta: ok, errors: [failure("b")] },
    { event: "section", section: "a", data: null, meta: { state: "failed" }, errors: [] },
  ]);
  assert.deepEqual(document, {
    data: { a: null, b: 2 },
    errors: [failure("b")],
    meta: { complete: false, sections: { a: { state: "failed" }, b: ok } },
  });
});

test("elements fill a list or an object before the section has landed", () => {
  const document = folded([
    { event: "element", section: "list", index: 2, data: "c", meta: ok, errors: [] },
    { event: "element", section: "list", index: 0, data: "a", meta: ok, errors: [] },
    { event: "element", section: "keyed", key: "x", data: 1, meta: ok, errors: [] },
    {
      event: "element", section: "keyed", key: "__proto__", data: null,
      meta: { state: "failed" }, errors: [failure("keyed", "__proto__")],
    },
  ]);
  assert.deepEqual(document.data["list"], ["a", null, "c"]);
  assert.deepEqual(Object.entries(document.data["keyed"] as object), [
    ["x", 1],
    ["__proto__", null],
  ]);
  assert.deepEqual(document.errors, [failure("keyed", "__proto__")]);
  assert.deepEqual(document.meta.sections, {});
});

test("completing sets errors and meta, and the document's order", () => {
  const meta = { complete: true, sections: { a: ok, b: ok } };
  const document = folded([
    { event: "section", section: "b", data: 2, meta: ok, errors: [failure("b")] },
    { event: "section", section: "a", data: 1, meta: ok, errors: [] },
    { event: "complete", errors: [failure("hidden")], meta },
  ]);
  assert.equal(JSON.stringify(document.data), '{"a":1,"b":2}');
  assert.deepEqual(document.errors, [failure("hidden")]);
  assert.equal(document.meta, meta);
});

test("a document is never changed, and what stays is shared", () => {
  const first = folded([
    { event: "section", section: "a", data: { deep: [1] }, meta: ok, errors: [] },
    { event: "element", section: "b", index: 0, data: 1, meta: ok, errors: [] },
  ]);
  const before = structuredClone(first);
  const second = fold(first, {
    event: "element", section: "b", index: 1, data: 2, meta: ok, errors: [failure("b", 1)],
  });
  fold(second, { event: "section", section: "a", data: 0, meta: ok, errors: [] });
  assert.deepEqual(first, before);
  assert.equal(second.data["a"], first.data["a"]);
});

test("an unknown event changes nothing", () => {
  const document = nothing();
  assert.equal(fold(document, { event: "later" } as unknown as AnyEvent), document);
});
