import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { after, before, test } from "node:test";

import { createClient, InterruptedError, ProblemError, type DashboardPath } from "../src/index.js";
import type { paths } from "../types/shipped.js";
import { demo, serving, type Served } from "./gateway.js";

let whole: Served;
let broken: Served;

before(async () => {
  [whole, broken] = await Promise.all([
    demo("--latency", "posts=120ms", "--latency", "weather=240ms"),
    demo("--fail", "weather=1.0", "--fail", "posts=0.5"),
  ]);
});
after(() => Promise.all([whole.close(), broken.close()]));

const DASHBOARDS = [
  ["/dashboard/{user_id}", { path: { user_id: 3 } }],
  ["/dashboard", {}],
  ["/users/{user_id}/activity", { path: { user_id: 3 } }],
  ["/weather", { query: { city: ["London", "Nowhere", "Tokyo"] } }],
  ["/weather/fastest", {}],
] as [DashboardPath<paths>, object][];

/** Returns a document without the times at which its values were fetched. */
function timeless(document: unknown): unknown {
  return JSON.parse(JSON.stringify(document, (key, value) => (key === "as_of" ? undefined : value)));
}

for (const [path, options] of DASHBOARDS) {
  test(`folding the events of ${path} gives its document`, async () => {
    const gateway = createClient<paths>({ baseUrl: whole.url });
    const streamed = await gateway.stream(path, options as never).document();
    const document = await gateway.get(path, options as never);
    assert.equal(JSON.stringify(timeless(streamed)), JSON.stringify(timeless(document)));
  });
}

test("sections arrive in the order in which they land", async () => {
  const gateway = createClient<paths>({ baseUrl: whole.url });
  const seen: string[] = [];
  for await (const event of gateway.stream("/dashboard/{user_id}", { path: { user_id: 4 } })) {
    seen.push(event.event === "complete" ? "complete" : event.section);
  }
  assert.deepEqual(seen, ["profile", "posts", "weather", "complete"]);
});

test("documents grow section by section", async () => {
  const gateway = createClient<paths>({ baseUrl: whole.url });
  const seen: string[][] = [];
  const stream = gateway.stream("/dashboard/{user_id}", { path: { user_id: 5 } });
  for await (const { data } of stream.documents()) seen.push(Object.keys(data));
  const all = ["profile", "posts", "weather"];
  assert.deepEqual(seen, [["profile"], ["profile", "posts"], all, all]);
});

test("only the sections that are asked for are streamed", async () => {
  const gateway = createClient<paths>({ baseUrl: whole.url });
  const stream = gateway.stream("/dashboard/{user_id}", {
    path: { user_id: 6 },
    sections: ["posts"],
  });
  assert.deepEqual(Object.keys((await stream.document()).data), ["posts"]);
});

test("elements of a list land one by one", async () => {
  const gateway = createClient<paths>({ baseUrl: whole.url });
  const options = { query: { city: ["Oslo", "Lima", "Nowhere"] } };
  const keys: string[] = [];
  for await (const event of gateway.stream("/weather", options)) {
    if (event.event === "element") keys.push(event.key);
  }
  assert.deepEqual(keys.sort(), ["Lima", "Nowhere", "Oslo"]);
});

test("a section that failed is null and has its error", async () => {
  const gateway = createClient<paths>({ baseUrl: broken.url });
  const stream = gateway.stream("/dashboard/{user_id}", { path: { user_id: 1 } });
  const { data, errors, meta } = await stream.document();
  assert.equal(data.weather, null);
  assert.equal(meta.sections.weather.state, "failed");
  assert.equal(errors.filter((error) => error.section === "weather")[0]?.code, "upstream_status");
});

test("a problem in place of the stream is an error", async () => {
  const gateway = createClient<paths>({ baseUrl: whole.url });
  const stream = gateway.stream("/dashboard/{user_id}", { path: { user_id: 999 } });
  await assert.rejects(stream.document(), (error) => {
    assert.ok(error instanceof ProblemError);
    assert.equal(error.status, 404);
    return true;
  });
});

/** Runs a client against a server that writes these pieces, and then ends or breaks the connection. */
async function against<T>(
  write: (response: ServerResponse) => void,
  run: (gateway: ReturnType<typeof createClient<paths>>) => Promise<T>,
): Promise<T> {
  const server = await serving((_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    write(response);
  });
  try {
    return await run(createClient<paths>({ baseUrl: server.url }));
  } finally {
    await server.close();
  }
}

const SECTION =
  'event: section\ndata: {"section":"users","data":{"count":1},"meta":{"state":"ok"},"errors":[]}\n\n';
const PROBLEM =
  'event: problem\ndata: {"type":"about:blank","title":"Bad Gateway","status":502,"detail":"no"}\n\n';

test("a problem after the first section is an error too", async () => {
  const seen: string[] = [];
  const read = against(
    (response) => response.end(SECTION + PROBLEM),
    async (gateway) => {
      for await (const event of gateway.stream("/dashboard")) seen.push(event.event);
    },
  );
  await assert.rejects(read, (error) => error instanceof ProblemError && error.status === 502);
  assert.deepEqual(seen, ["section"]);
});

test("a stream that ends too early is interrupted, not complete", async () => {
  for (const method of ["iterate", "document"]) {
    const read = against(
      (response) => response.end(SECTION),
      async (gateway) => {
        const stream = gateway.stream("/dashboard");
        if (method === "document") await stream.document();
        else for await (const _ of stream);
      },
    );
    await assert.rejects(read, InterruptedError);
  }
});

test("a connection that breaks is an error", async () => {
  const read = against(
    (response) => {
      response.write(SECTION);
      setTimeout(() => response.destroy(), 20);
    },
    (gateway) => gateway.stream("/dashboard").document(),
  );
  await assert.rejects(read);
});

test("leaving the loop ends the request", async () => {
  let closed: () => void = () => {};
  const ended = new Promise<void>((resolve) => (closed = resolve));
  await against(
    (response) => {
      response.on("close", closed);
      response.write(SECTION);
    },
    async (gateway) => {
      for await (const event of gateway.stream("/dashboard")) {
        assert.equal(event.event, "section");
        break;
      }
      await ended;
    },
  );
});

test("an aborted stream rejects with the reason of its signal", async () => {
  const controller = new AbortController();
  const reason = new Error("enough");
  const read = against(
    (response) => response.write(SECTION),
    async (gateway) => {
      for await (const _ of gateway.stream("/dashboard", { signal: controller.signal })) {
        controller.abort(reason);
      }
    },
  );
  await assert.rejects(read, (error) => error === reason);
});
