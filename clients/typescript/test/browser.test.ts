/** The client in Chromium, on a page of another origin. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser } from "playwright-core";
import ts from "typescript";

import type * as Module from "../src/index.js";
import type { paths } from "../types/shipped.js";
import { frontend, IN_CHROMIUM, opened, started, type Watched } from "./chromium.js";
import { blocksOf, PAGE } from "./docs.js";
import { demo, gateway as gatewayOf, serving, type Served } from "./gateway.js";

let gateway: Served;
let app: Served;
let browser: Browser;
let watched: Watched;

before(async () => {
  if ("skip" in IN_CHROMIUM) return;
  [gateway, app, browser] = await Promise.all([
    demo("--latency", "posts=80ms", "--latency", "weather=160ms"),
    frontend(),
    started(),
  ]);
  watched = await opened(browser, app.url, gateway.url);
});
after(async () => {
  if ("skip" in IN_CHROMIUM) return;
  await browser.close();
  await Promise.all([gateway.close(), app.close()]);
  assert.deepEqual(watched.foreign, []);
});

/** Runs a function on the page; it gets the module, and the URL of the gateway. */
async function onPage<T>(run: (client: typeof Module, url: string) => Promise<T>): Promise<T> {
  const text = `(async (url) => (${run.toString()})(await import("/index.js"), url))`;
  return await watched.page.evaluate(`${text}(${JSON.stringify(gateway.url)})`);
}

test("get, with a typed problem", IN_CHROMIUM, async () => {
  const [name, status] = await onPage(async ({ createClient, ProblemError }, baseUrl) => {
    const client = createClient<paths>({ baseUrl });
    const { data } = await client.get("/dashboard/{user_id}", { path: { user_id: 1 } });
    try {
      await client.get("/dashboard/{user_id}", { path: { user_id: 999 } });
    } catch (error) {
      if (error instanceof ProblemError) return [data.profile.name, error.status];
    }
    return [];
  });
  assert.equal(name, "Amara Fontaine");
  assert.equal(status, 404);
});

test("stream, folded to the document", IN_CHROMIUM, async () => {
  const [seen, streamed, document] = await onPage(async ({ createClient }, baseUrl) => {
    const client = createClient<paths>({ baseUrl });
    const options = { path: { user_id: 2 } };
    const landed: string[][] = [];
    for await (const { data } of client.stream("/dashboard/{user_id}", options).documents()) {
      landed.push(Object.keys(data));
    }
    const timeless = (value: unknown): string =>
      JSON.stringify(value, (key, one) => (key === "as_of" ? undefined : one));
    return [
      landed,
      timeless(await client.stream("/dashboard/{user_id}", options).document()),
      timeless(await client.get("/dashboard/{user_id}", options)),
    ] as const;
  });
  const all = ["profile", "posts", "weather"];
  assert.deepEqual(seen, [["profile"], ["profile", "posts"], all, all]);
  assert.equal(streamed, document);
});

test("an aborted stream", IN_CHROMIUM, async () => {
  const message = await onPage(async ({ createClient }, baseUrl) => {
    const controller = new AbortController();
    const options = { path: { user_id: 3 }, signal: controller.signal };
    try {
      for await (const _ of createClient<paths>({ baseUrl }).stream("/dashboard/{user_id}", options)) {
        controller.abort(new Error("left the page"));
      }
    } catch (error) {
      return (error as Error).message;
    }
    return "not aborted";
  });
  assert.equal(message, "left the page");
});

test("batch", IN_CHROMIUM, async () => {
  const [name, users, status] = await onPage(async ({ createClient, ProblemError }, baseUrl) => {
    const client = createClient<paths>({ baseUrl });
    const [one, other, missing] = await Promise.allSettled([
      client.batch("/dashboard/{user_id}", { path: { user_id: 1 } }),
      client.batch("/dashboard"),
      client.batch("/dashboard/{user_id}", { path: { user_id: 999 } }),
    ]);
    return [
      one.status === "fulfilled" && one.value.data.profile.name,
      other.status === "fulfilled" && other.value.data.users?.count,
      missing.status === "rejected" && missing.reason instanceof ProblemError && missing.reason.status,
    ];
  });
  assert.deepEqual([name, users, status], ["Amara Fontaine", 10, 404]);
});

test("live, across a broken connection", IN_CHROMIUM, async () => {
  let users = 1;
  const upstream = await serving((_, response) => {
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(users));
  });
  const live = await gatewayOf(`
web: {cors: {origins: ["${app.url}"]}}
upstreams: {users: {base_url: "${upstream.url}"}}
dashboards:
  overview: {path: /dashboard, live: {every: 100ms}, sections: {users: {get: "users:/"}}}
`);
  try {
    await watched.page.exposeFunction("change", () => void (users += 1));
    watched.allow(live.url);
    const seen = await watched.page.evaluate(`(async () => {
      const { createClient } = await import("/index.js");
      let connections = 0;
      // Breaks the first connection after its first whole document.
      const breaking = async (url, init) => {
        connections += 1;
        const controller = new AbortController();
        init.signal.addEventListener("abort", () => controller.abort());
        if (connections === 1) setTimeout(() => controller.abort(), 1_500);
        return await fetch(url, { ...init, signal: controller.signal });
      };
      const client = createClient({ baseUrl: ${JSON.stringify(live.url)}, fetch: breaking });
      const counts = [];
      for await (const event of client.live("/dashboard", { maximumWait: 50 })) {
        if (event.event === "section") counts.push(event.data);
        if (event.event === "complete" && counts.length === 1) setTimeout(() => change(), 2_000);
        if (counts.length === 2) break;
      }
      return [counts, connections];
    })()`);
    assert.deepEqual(seen, [[1, 2], 2]); // the second connection was told only what had changed
  } finally {
    await live.close();
    await upstream.close();
  }
});

test("a browser's own EventSource", IN_CHROMIUM, async () => {
  const seen = await onPage(async (_, url) => {
    const names: string[] = [];
    const source = new EventSource(`${url}/dashboard/4`);
    for (const name of ["section", "problem"]) source.addEventListener(name, () => names.push(name));
    await new Promise((resolve) => source.addEventListener("complete", resolve));
    names.push("complete");
    // It connects again by itself, and 204 ends it.
    while (source.readyState !== EventSource.CLOSED) await new Promise((one) => setTimeout(one, 50));
    return names;
  });
  assert.deepEqual(seen, ["section", "section", "section", "complete"]);
});

test("the documentation's example of EventSource", IN_CHROMIUM, async () => {
  const examples = blocksOf(PAGE).filter(({ where }) => where === "browser");
  assert.equal(examples.length, 1);
  for (const { code, output } of examples) {
    const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
    const script = ts.transpileModule(code, { compilerOptions: options }).outputText;
    const printed: string[] = [];
    watched.page.on("console", (message) => printed.push(message.text()));
    await watched.page.addScriptTag({
      content: script.replaceAll("http://localhost:8000", gateway.url),
      type: "module",
    });
    while (printed.length < output.length) await watched.page.waitForTimeout(20);
    assert.deepEqual(printed, output);
  }
});
