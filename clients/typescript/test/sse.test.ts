import assert from "node:assert/strict";
import { test } from "node:test";

import { EventStreamParser, type ServerSentEvent } from "../src/index.js";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function parsed(text: string): ServerSentEvent[] {
  return new EventStreamParser().push(bytes(text));
}

const data = (...texts: string[]): ServerSentEvent[] =>
  texts.map((text) => ({ event: "message", data: text }));

// The examples of WHATWG HTML, section 9.2.6, and the corners of its grammar.
const CASES: [string, string, ServerSentEvent[]][] = [
  ["three lines of data", "data: YHOO\ndata: +2\ndata: 10\n\n", data("YHOO\n+2\n10")],
  ["a comment", ": test stream\n\ndata: first event\n\n", data("first event")],
  ["a space is removed once", "data:  third event\n\n", data(" third event")],
  ["no space is needed", "data:test\n\ndata: test\n\n", data("test", "test")],
  ["fields without a colon", "data\n\ndata\ndata\n\ndata:", data("", "\n")],
  ["an event that is not ended is no event", "data: a\n\ndata: b\n", data("a")],
  ["a name", "event: add\ndata: 73\n\ndata: 1\n\n", [{ event: "add", data: "73" }, ...data("1")]],
  ["an event without data is no event", "event: add\n\ndata: 1\n\n", data("1")],
  ["carriage returns", "data: a\r\rdata: b\r\r", data("a", "b")],
  ["both", "data: a\r\n\r\ndata: b\r\n\r\n", data("a", "b")],
  ["mixed line ends", "data: a\r\ndata: b\n\rdata: c\r\n\n", data("a\nb", "c")],
  ["a byte order mark", "\uFEFFdata: a\n\n", data("a")],
  ["only the first one", "\uFEFF\uFEFFdata: a\n\ndata: b\n\n", data("b")],
  ["unknown fields", "foo: a\ndata: b\nDATA: c\n data: d\n\n", data("b")],
  ["more than one colon", "data:a:b: c\n\n", data("a:b: c")],
  ["text of all planes", "data: é € 😀 \u2028\n\n", data("é € 😀 \u2028")],
  ["an empty stream", "", []],
];

for (const [name, text, events] of CASES) {
  test(`the parser takes ${name}, wherever the bytes are cut`, () => {
    assert.deepEqual(parsed(text), events);
    const whole = bytes(text);
    for (let first = 0; first <= whole.length; first++) {
      for (let second = first; second <= whole.length; second++) {
        const parser = new EventStreamParser();
        const parts = [whole.slice(0, first), whole.slice(first, second), whole.slice(second)];
        assert.deepEqual(parts.flatMap((part) => parser.push(part)), events);
      }
    }
    const parser = new EventStreamParser();
    assert.deepEqual([...whole].flatMap((byte) => parser.push(Uint8Array.of(byte))), events);
  });
}

test("the last identifier is that of the last event that ended", () => {
  const parser = new EventStreamParser();
  const after = (text: string): string => {
    parser.push(bytes(text));
    return parser.lastEventId;
  };
  assert.equal(after("id: 1\n"), "");
  assert.equal(after("data: a\n\n"), "1");
  assert.equal(after("data: b\n\n"), "1");
  assert.equal(after("id: 2\n\n"), "2"); // without data there is no event, but the identifier counts
  assert.equal(after("id: 3\0\ndata: c\n\n"), "2");
  assert.equal(after("id\ndata: d\n\n"), "");
});

test("only digits are a reconnection time", () => {
  const parser = new EventStreamParser();
  assert.equal(parser.retry, undefined);
  for (const text of ["retry: 1.5\n", "retry: -1\n", "retry: \n", "retry: 1s\n", "retry\n"]) {
    parser.push(bytes(text));
    assert.equal(parser.retry, undefined);
  }
  parser.push(bytes("retry: 2500\n"));
  assert.equal(parser.retry, 2500);
});

test("a large event in many pieces takes time in proportion to its size", () => {
  const parser = new EventStreamParser();
  const piece = bytes("x".repeat(1000));
  parser.push(bytes("data: "));
  for (let n = 0; n < 20_000; n++) parser.push(piece);
  const [event] = parser.push(bytes("\n\n"));
  assert.equal(event?.data.length, 20_000_000);
});
