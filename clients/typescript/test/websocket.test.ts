/** The WebSocket `/live`, by the client that Node's users take. It needs nothing of this package. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { WebSocket } from "ws";

import { demo, gateway } from "./gateway.js";

const PAGE = "https://app.example.com";

test("one connection of `ws` carries many dashboards, and other origins are refused", async () => {
  const upstream = await demo();
  const served = await gateway(`
web: {websocket: {}, cors: {origins: ["${PAGE}"]}}
upstreams: {demo: {base_url: "${upstream.url}"}}
dashboards:
  user:
    path: "/user/{id}"
    parameters: {id: {type: integer}}
    live: {every: 1s}
    sections: {whole: {get: "demo:/dashboard/{id}"}}
`);
  const url = served.url.replace("http", "ws") + "/live";
  try {
    const seen: [string, string][] = [];
    await new Promise<void>((resolve, reject) => {
      const socket = new WebSocket(url, { origin: PAGE });
      socket.on("error", reject);
      socket.on("open", () => {
        for (const id of ["a", "b"]) {
          socket.send(JSON.stringify({ subscribe: id, path: `/user/${id === "a" ? 1 : 2}` }));
        }
      });
      socket.on("message", (text) => {
        const event = JSON.parse(String(text)) as { id: string; event: string };
        seen.push([event.id, event.event]);
        if (seen.filter(([, name]) => name === "complete").length === 2) socket.close(1000);
      });
      socket.on("close", (code) => (code === 1000 ? resolve() : reject(new Error(String(code)))));
    });
    for (const id of ["a", "b"]) {
      const own = seen.filter(([of]) => of === id).map(([, name]) => name);
      assert.deepEqual(own, ["section", "complete"]);
    }
    const refused = await new Promise<Error>((resolve, reject) => {
      const socket = new WebSocket(url, { origin: "https://evil.example" });
      socket.on("open", () => reject(new Error("it was let in")));
      socket.on("error", resolve);
    });
    assert.match(refused.message, /403/);
  } finally {
    await served.close();
    await upstream.close();
  }
});
