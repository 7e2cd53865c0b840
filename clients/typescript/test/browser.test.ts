/** The client in Chromium, on a page of another origin. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser } from "playwright-core";
import ts from "typescript";

import type * as Module from "../src/index.js";
import type { paths } from "../types/shipped.js";
import { frontend, IN_CHROMIUM, opened, started, type Watched } from "./chromium.js";
import { blocksOf, PAGE } from "./docs.js";
import { demo, type Served } from "./gateway.js";

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
