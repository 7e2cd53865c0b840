import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { createClient, ProblemError } from "../src/index.js";
import type { paths } from "../types/shipped.js";
import { demo, serving, type Served } from "./gateway.js";

let served: Served;

before(async () => {
  served = await demo();
});
after(() => served.close());

const client = () => createClient<paths>({ baseUrl: served.url });

test("get returns a document", async () => {
  const { data, errors, meta } = await client().get("/dashboard/{user_id}", {
    path: { user_id: 1 },
  });
  assert.equal(data.profile.name.toUpperCase(), "AMARA FONTAINE");
  assert.equal(data.posts?.length, 5);
  assert.deepEqual(errors, []);
  assert.equal(meta.complete, true);
});

test("get fetches only the sections that are asked for", async () => {
  const { data, meta } = await client().get("/dashboard/{user_id}", {
    path: { user_id: 1 },
    sections: ["profile"],
  });
  assert.deepEqual(Object.keys(data), ["profile"]);
  assert.deepEqual(Object.keys(meta.sections), ["profile"]);
});

test("a parameter that is a list is repeated", async () => {
  const { data } = await client().get("/weather", { query: { city: ["São Paulo", "Paris"] } });
  assert.deepEqual(Object.keys(data.weather ?? {}), ["São Paulo", "Paris"]);
});

test("a refusal is a typed error", async () => {
  const missing = client().get("/dashboard/{user_id}", { path: { user_id: 999 } });
  await assert.rejects(missing, (error) => {
    assert.ok(error instanceof ProblemError);
    assert.equal(error.status, 404);
    assert.equal(error.problem.errors?.[0]?.section, "profile");
    assert.equal(error.retryable, false);
    assert.match(error.message, /^404 Not Found: /);
    return true;
  });
  const invalid = client().get("/dashboard/{user_id}", { path: { user_id: 0 } });
  await assert.rejects(invalid, (error) => {
    assert.ok(error instanceof ProblemError);
    assert.equal(error.status, 422);
    assert.equal(error.problem.invalid_parameters?.[0]?.name, "user_id");
    return true;
  });
});

test("an aborted call rejects with the reason of its signal", async () => {
  const controller = new AbortController();
  const asked = client().get("/dashboard", { signal: controller.signal });
  const reason = new Error("not needed any more");
  controller.abort(reason);
  await assert.rejects(asked, (error) => error === reason);
});

test("what a request carries", async () => {
  const seen: string[] = [];
  const server = await serving((request, response) => {
    const { accept, authorization, "x-one": one } = request.headers;
    seen.push([request.url, accept, authorization, one].join(" "));
    response.writeHead(503, { "retry-after": "7", "content-type": "text/plain" }).end("busy");
  });
  try {
    let token = 0;
    const one = createClient<paths>({
      baseUrl: `${server.url}/api/`,
      headers: async () => ({ authorization: `Bearer ${(token += 1)}`, "x-one": "a" }),
    });
    for (const headers of [undefined, { "X-One": "b" }]) {
      const asked = one.get("/weather", { query: { city: ["a b", "c&d"] }, headers });
      await assert.rejects(asked, (error) => {
        assert.ok(error instanceof ProblemError);
        assert.equal(error.status, 503);
        assert.equal(error.problem.title, "Service Unavailable");
        assert.equal(error.retryAfter, 7);
        assert.equal(error.retryable, true);
        return true;
      });
    }
    const path = "/api/weather?city=a%20b&city=c%26d application/json";
    assert.deepEqual(seen, [`${path} Bearer 1 a`, `${path} Bearer 2 b`]);
  } finally {
    await server.close();
  }
});

test("a path parameter cannot leave its place", async () => {
  const seen: (string | undefined)[] = [];
  const server = await serving((request, response) => {
    seen.push(request.url);
    response.writeHead(404).end();
  });
  try {
    const one = createClient<{ "/a/{b}": { get: { parameters: { path: { b: string } };
      responses: { 200: { content: { "application/json": { data: object; errors: [];
        meta: { complete: boolean; sections: object } } } } } } } }>({ baseUrl: server.url });
    await assert.rejects(one.get("/a/{b}", { path: { b: "../x?y#z" } }), ProblemError);
    for (const b of ["", ".", ".."]) await assert.rejects(one.get("/a/{b}", { path: { b } }), TypeError);
    assert.deepEqual(seen, ["/a/..%2Fx%3Fy%23z"]);
  } finally {
    await server.close();
  }
});
