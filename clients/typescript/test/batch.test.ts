import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test } from "node:test";

import { createClient, ProblemError } from "../src/index.js";
import type { paths } from "../types/shipped.js";
import { demo, serving } from "./gateway.js";

interface Asked {
  requests: { id: string; path: string }[];
}

/** Runs a client against a server that answers batches by `answer`. */
async function against(
  answer: (response: ServerResponse, asked: Asked) => void,
  run: (gateway: ReturnType<typeof createClient<paths>>) => Promise<void>,
): Promise<Asked[]> {
  const seen: Asked[] = [];
  const server = await serving((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      assert.equal(`${request.method} ${request.url}`, "POST /batch");
      const asked = JSON.parse(Buffer.concat(parts).toString()) as Asked;
      seen.push(asked);
      answer(response, asked);
    });
  });
  try {
    await run(createClient<paths>({ baseUrl: server.url, maxBatch: 3 }));
  } finally {
    await server.close();
  }
  return seen;
}

const line = (id: string, status: number, body: object, headers = {}): string =>
  `${JSON.stringify({ id, status, headers, body })}\n`;

const echo = (response: ServerResponse, { requests }: Asked): void => {
  const lines = requests.map(({ id, path }) => line(id, 200, { data: { path } })).reverse();
  response.end(lines.join(""));
};

const pathOf = async (document: Promise<{ data: object }>): Promise<unknown> =>
  ((await document).data as { path: string }).path;

test("the calls of one tick are one request", async () => {
  const seen = await against(echo, async (gateway) => {
    const users = [1, 2].map((user_id) =>
      pathOf(gateway.batch("/dashboard/{user_id}", { path: { user_id } })),
    );
    await Promise.resolve(); // a tick has many turns of promises
    const counts = pathOf(gateway.batch("/dashboard", { sections: ["users"] }));
    assert.deepEqual(await Promise.all(users), ["/dashboard/1", "/dashboard/2"]);
    assert.equal(await counts, "/dashboard?sections=users");
    assert.equal(await pathOf(gateway.batch("/weather")), "/weather");
  });
  assert.deepEqual(seen.map(({ requests }) => requests.length), [3, 1]);
});

test("more calls than a batch may have are several", async () => {
  const seen = await against(echo, async (gateway) => {
    const users = Array.from({ length: 7 }, (_, index) =>
      pathOf(gateway.batch("/dashboard/{user_id}", { path: { user_id: index } })),
    );
    const found = await Promise.all(users);
    assert.deepEqual(found, Array.from({ length: 7 }, (_, index) => `/dashboard/${index}`));
  });
  assert.deepEqual(seen.map(({ requests }) => requests.length), [3, 3, 1]);
});

test("each call has its own outcome, as soon as it is there", async () => {
  let release: () => void = () => {};
  await against(
    (response, { requests: [first, second] }) => {
      const problem = { type: "about:blank", title: "Not Found", status: 404, detail: "no" };
      const text = line(second!.id, 503, { ...problem, status: 503 }, { "retry-after": "2" });
      response.write(text.slice(0, 20));
      setTimeout(() => response.write(text.slice(20)), 10);
      release = () => response.end(line(first!.id, 200, { data: { path: "é" } }).trimEnd());
    },
    async (gateway) => {
      const first = pathOf(gateway.batch("/dashboard"));
      await assert.rejects(gateway.batch("/weather"), (error) => {
        assert.ok(error instanceof ProblemError);
        assert.equal(error.status, 503);
        assert.equal(error.retryAfter, 2);
        return true;
      });
      release(); // the second came while the first was still awaited
      assert.equal(await first, "é");
    },
  );
});

test("a refused batch, and what a batch leaves out, reject", async () => {
  await against(
    (response) => response.writeHead(413).end(),
    async (gateway) => {
      const both = [gateway.batch("/dashboard"), gateway.batch("/weather")];
      for (const one of await Promise.allSettled(both)) {
        assert.ok(one.status === "rejected" && one.reason instanceof ProblemError);
      }
    },
  );
  await against(
    (response, { requests: [first] }) => response.end(line(first!.id, 200, { data: {} })),
    async (gateway) => {
      const both = [gateway.batch("/dashboard"), gateway.batch("/weather")];
      const [one, other] = await Promise.allSettled(both);
      assert.equal(one?.status, "fulfilled");
      assert.equal(other?.status === "rejected" && other.reason.name, "InterruptedError");
    },
  );
});

test("an aborted call leaves the others alone; once all are aborted, so is the request", async () => {
  let closed: () => void = () => {};
  const ended = new Promise<void>((resolve) => (closed = resolve));
  let arrived: () => void = () => {};
  const asked = new Promise<void>((resolve) => (arrived = resolve));
  await against(
    (response, { requests }) => {
      assert.equal(requests.length, 2);
      response.on("close", closed);
      response.flushHeaders();
      arrived();
    },
    async (gateway) => {
      const controllers = [1, 2, 3].map(() => new AbortController());
      const calls = controllers.map(({ signal }) => gateway.batch("/dashboard", { signal }));
      const settled = Promise.allSettled(calls);
      controllers[0]!.abort(new Error("first")); // before it was sent
      await asked;
      controllers[1]!.abort(new Error("second"));
      controllers[2]!.abort(new Error("third"));
      await ended;
      const reasons = (await settled).map((one) => one.status === "rejected" && one.reason.message);
      assert.deepEqual(reasons, ["first", "second", "third"]);
      const late = gateway.batch("/dashboard", { signal: controllers[0]!.signal });
      await assert.rejects(late, /first/);
    },
  );
});

test("a call after all others of its tick were aborted is sent", async () => {
  const seen = await against(echo, async (gateway) => {
    // What React's strict mode does: mount, unmount and mount again.
    const controller = new AbortController();
    const dropped = gateway.batch("/dashboard", { signal: controller.signal });
    controller.abort(new Error("unmounted"));
    const wanted = pathOf(gateway.batch("/dashboard"));
    await assert.rejects(dropped, /unmounted/);
    assert.equal(await wanted, "/dashboard");
  });
  assert.deepEqual(seen.map(({ requests }) => requests.length), [1]);
});

test("a batch of a real gateway", async () => {
  const served = await demo("--latency", "weather=150ms");
  try {
    const gateway = createClient<paths>({ baseUrl: served.url });
    const settled: string[] = [];
    const noted = <T>(name: string, call: Promise<T>): Promise<T> =>
      call.finally(() => settled.push(name));
    const [slow, fast, missing, part] = await Promise.allSettled([
      noted("slow", gateway.batch("/dashboard/{user_id}", { path: { user_id: 1 } })),
      noted("fast", gateway.batch("/dashboard")),
      noted("missing", gateway.batch("/dashboard/{user_id}", { path: { user_id: 999 } })),
      noted("part", gateway.batch("/dashboard/{user_id}", { path: { user_id: 1 }, sections: ["posts"] })),
    ]);
    assert.equal(slow.status === "fulfilled" && slow.value.data.profile.name, "Amara Fontaine");
    assert.deepEqual(fast.status === "fulfilled" && fast.value.data.users, { count: 10 });
    assert.ok(missing.status === "rejected" && missing.reason instanceof ProblemError);
    assert.equal(missing.reason.problem.errors?.[0]?.section, "profile");
    assert.deepEqual(part.status === "fulfilled" && Object.keys(part.value.data), ["posts"]);
    assert.equal(settled.at(-1), "slow"); // the others did not wait for it
  } finally {
    await served.close();
  }
});
