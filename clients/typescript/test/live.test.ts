import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { test } from "node:test";

import { createClient, InterruptedError, ProblemError, type LiveOptions } from "../src/index.js";
import type { paths } from "../types/shipped.js";
import { gateway, serving } from "./gateway.js";

const QUICK: LiveOptions = { minimumWait: 4, maximumWait: 16 };

const section = (count: number): string =>
  `event: section\ndata: {"section":"users","data":{"count":${count}},"meta":{"state":"ok"},"errors":[]}\n\n`;
const complete = (id: string): string =>
  `event: complete\nid: ${id}\ndata: {"errors":[],"meta":{"complete":true,"sections":{"users":{"state":"ok"}}}}\n\n`;

type Answer = (response: ServerResponse, request: IncomingMessage) => void;

const events = (response: ServerResponse): ServerResponse =>
  response.writeHead(200, { "content-type": "text/event-stream" });

/** Runs a client against a server that answers each connection by the next of `answers`. */
async function against(
  answers: Answer[],
  run: (gateway: ReturnType<typeof createClient<paths>>) => Promise<void>,
): Promise<(string | undefined)[]> {
  const known: (string | undefined)[] = [];
  const server = await serving((request, response) => {
    known.push(request.headers["last-event-id"] as string | undefined);
    const answer = answers[known.length - 1] ?? ((one) => one.writeHead(204).end());
    answer(response, request);
  });
  try {
    await run(createClient<paths>({ baseUrl: server.url }));
  } finally {
    await server.close();
  }
  return known;
}

test("a lost stream goes on where the last whole document was", async () => {
  const counts: (number | undefined)[] = [];
  const known = await against(
    [
      (response) => events(response).end(section(1) + complete('W/"a"') + section(2) + complete('W/"b"')),
      (response) => events(response).end(section(3) + complete('W/"c"')),
    ],
    async (gateway) => {
      for await (const { data } of gateway.live("/dashboard", QUICK).documents()) {
        counts.push(data.users?.count);
      }
    },
  );
  assert.deepEqual(counts, [1, 1, 2, 2, 3, 3]);
  assert.deepEqual(known, [undefined, 'W/"b"', 'W/"c"']); // 204 ended it
});

test("what was lost in the middle of a version is fetched anew", async () => {
  const known = await against(
    [
      (response) => {
        events(response).write(section(1) + complete('W/"a"') + section(2));
        setTimeout(() => response.destroy(), 20);
      },
      (response) => events(response).end(section(2) + complete('W/"b"')),
    ],
    async (gateway) => {
      for await (const _ of gateway.live("/dashboard", QUICK));
    },
  );
  assert.deepEqual(known, [undefined, undefined, 'W/"b"']);
});

test("it waits longer after each failure, by chance, and anew after a success", async (t) => {
  t.mock.method(Math, "random", () => 0.5);
  const refuse: Answer = (response) => response.writeHead(502).end();
  const break_: Answer = (response) => response.destroy();
  const waits: number[] = [];
  await against(
    [refuse, break_, refuse, refuse, (response) => events(response).end(complete('W/"a"')), refuse],
    async (gateway) => {
      const options = { ...QUICK, onDisconnect: (_: unknown, wait: number) => waits.push(wait) };
      for await (const _ of gateway.live("/dashboard", options));
    },
  );
  assert.deepEqual(waits, [3, 6, 12, 12, 3, 6]); // 3/4 of 4, 8, 16, 16, and from the start
});

test("the gateway's own times are kept", async (t) => {
  t.mock.method(Math, "random", () => 1);
  const waits: number[] = [];
  await against(
    [
      (response) => events(response).end("retry: 9\n\n" + section(1)),
      (response) => response.writeHead(429, { "retry-after": "1" }).end(),
    ],
    async (gateway) => {
      const controller = new AbortController();
      const options = {
        ...QUICK,
        signal: controller.signal,
        onDisconnect: (_: unknown, wait: number) => {
          waits.push(wait);
          if (waits.length === 2) controller.abort(new Error("seen"));
        },
      };
      await assert.rejects(async () => {
        for await (const _ of gateway.live("/dashboard", options));
      }, /seen/);
    },
  );
  assert.deepEqual(waits, [9, 1500]);
});

test("a problem that will not go away ends it", async () => {
  const known = await against(
    [
      (response) =>
        response
          .writeHead(404, { "content-type": "application/problem+json" })
          .end('{"type":"about:blank","title":"Not Found","status":404,"detail":"no"}'),
    ],
    async (gateway) => {
      const live = gateway.live("/dashboard", QUICK);
      await assert.rejects(live.document(), (error) => error instanceof ProblemError);
    },
  );
  assert.equal(known.length, 1);
});

test("a silent connection is given up", async () => {
  const causes: unknown[] = [];
  const known = await against(
    [(response) => events(response).write(section(1)), (response) => events(response).flushHeaders()],
    async (gateway) => {
      const options = { ...QUICK, idleTimeout: 40, onDisconnect: (cause: unknown) => causes.push(cause) };
      for await (const _ of gateway.live("/dashboard", options));
    },
  );
  assert.equal(known.length, 3);
  assert.ok(causes.every((cause) => cause instanceof InterruptedError), String(causes));
});

test("heartbeats hold a connection", async () => {
  let beats = 0;
  const known = await against(
    [
      (response) => {
        events(response);
        const timer = setInterval(() => {
          response.write(":\n\n");
          if ((beats += 1) === 10) {
            clearInterval(timer);
            response.end(complete('W/"a"'));
          }
        }, 20);
      },
    ],
    async (gateway) => {
      for await (const _ of gateway.live("/dashboard", { ...QUICK, idleTimeout: 150 }));
    },
  );
  assert.deepEqual(known, [undefined, 'W/"a"']);
});

test("aborting ends it, connected or waiting", async () => {
  for (const answer of [
    (response: ServerResponse) => void events(response).write(section(1)),
    (response: ServerResponse) => void response.writeHead(503).end(),
  ]) {
    const controller = new AbortController();
    const reason = new Error("enough");
    const known = await against([answer], async (gateway) => {
      const live = gateway.live("/dashboard", {
        minimumWait: 60_000,
        maximumWait: 60_000,
        signal: controller.signal,
        onDisconnect: () => controller.abort(reason),
      });
      await assert.rejects(
        async () => {
          for await (const _ of live) controller.abort(reason);
        },
        (error) => error === reason,
      );
    });
    assert.equal(known.length, 1);
  }
});

test("a live dashboard of a real gateway, across its restart", async () => {
  let users = [1];
  let asked = 0;
  const upstream = await serving((_, response) => {
    asked += 1;
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(users));
  });
  const configuration = `
upstreams:
  users: {base_url: "${upstream.url}"}
dashboards:
  overview:
    path: /dashboard
    live: {every: 100ms}
    sections:
      users: {get: "users:/users", select: "{count: length(@)}"}
      same: {get: "users:/same", select: "type(@)"}
`;
  let served = await gateway(configuration);
  const controller = new AbortController();
  const seen: unknown[] = [];
  const sections: string[] = [];
  const client = createClient<paths>({ baseUrl: served.url });
  const live = client.live("/dashboard", { signal: controller.signal, maximumWait: 50 });
  try {
    for await (const event of live) {
      if (event.event === "section") sections.push(event.section);
      if (event.event !== "complete") continue;
      seen.push(users.length);
      if (users.length === 1) users = [1, 2];
      else if (users.length === 2) {
        await served.close();
        served = await gateway(configuration, Number(new URL(served.url).port));
        // It connects again, and is told nothing while nothing has changed.
        const before = asked;
        setTimeout(function change(): void {
          if (asked < before + 8) setTimeout(change, 20);
          else users = [1, 2, 3];
        });
      } else break;
    }
  } finally {
    await served.close();
    await upstream.close();
  }
  assert.deepEqual(seen, [1, 2, 3]);
  assert.deepEqual(sections.sort(), ["same", "users", "users", "users"]);
});
