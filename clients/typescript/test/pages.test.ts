/** The gateway's own pages in Chromium: complete, without another host, within their policy. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser } from "playwright-core";

import { IN_CHROMIUM, opened, started } from "./chromium.js";
import { demo, serving, type Served } from "./gateway.js";

let gateway: Served;
let browser: Browser;

before(async () => {
  if ("skip" in IN_CHROMIUM) return;
  const options = ["--latency", "posts=300ms", "--latency", "weather=900ms", "--fail", "geocoding=1.0"];
  [gateway, browser] = await Promise.all([demo(...options), started()]);
});
after(async () => {
  if ("skip" in IN_CHROMIUM) return;
  await browser.close();
  await gateway.close();
});

test("/docs lists and tries the dashboards", IN_CHROMIUM, async () => {
  const { page, foreign, errors } = await opened(browser, `${gateway.url}/docs`);
  await page.click("#operations-users-user_dashboard .opblock-summary-control");
  await page.click("button.try-out__btn");
  await page.fill(".parameters input", "1");
  await page.click("button.execute");
  const status = await page.textContent(".live-responses-table tbody .response-col_status");
  assert.equal(status?.trim(), "200");
  assert.match((await page.textContent(".live-responses-table")) ?? "", /Amara Fontaine/);
  assert.deepEqual(foreign, []);
  assert.deepEqual(errors, []);
  await page.close();
});

test("the demo's page draws sections as they land", IN_CHROMIUM, async () => {
  const { page, foreign, errors } = await opened(browser, gateway.url);
  await page.fill("#field-user_id", "7"); // which no cache has
  await page.click("#run");
  for (const landed of [1, 2]) {
    const still = (count: number): boolean =>
      document.querySelectorAll(".section.waiting").length === 3 - count;
    await page.waitForFunction(still, landed);
  }
  await page.waitForSelector("text=Complete after");
  assert.deepEqual(await page.locator(".state").allTextContents(), ["ok", "ok", "ok"]);
  const widths = await page.locator(".bar").evaluateAll((bars) =>
    bars.map((bar) => bar.getBoundingClientRect().width),
  );
  assert.ok(widths[0]! < widths[1]! && widths[1]! < widths[2]!, String(widths));
  assert.equal(await page.locator(".dashboards button").count(), 5);
  assert.deepEqual(foreign, []);
  assert.deepEqual(errors, []);
  await page.close();
});

test("the demo's page shows elements, failures and problems", IN_CHROMIUM, async () => {
  const { page, foreign } = await opened(browser, gateway.url);
  await page.locator(".dashboards button").nth(3).click();
  await page.waitForSelector("text=Complete with gaps");
  assert.match((await page.textContent(".note.error")) ?? "", /London: /);
  await page.locator(".dashboards button").nth(0).click();
  await page.fill("#field-user_id", "999");
  await page.click("#run");
  await page.waitForSelector("text=404 Not Found");
  await page.fill("#field-user_id", "1");
  await page.locator(".chips label", { hasText: "weather" }).click();
  await page.waitForSelector("text=Complete after");
  assert.equal(await page.textContent("#url"), "/dashboard/1?sections=profile,posts");
  assert.equal(await page.locator(".section").count(), 2);
  assert.deepEqual(foreign, []);
  await page.close();
});

test("the demo's page fits a phone", IN_CHROMIUM, async () => {
  const { page } = await opened(browser, gateway.url);
  await page.setViewportSize({ width: 390, height: 844 });
  await page.waitForSelector("text=Complete after");
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `${overflow} pixels too wide`);
  await page.close();
});

test("the demo's page draws a document where there is no stream", IN_CHROMIUM, async () => {
  // A proxy that knows no streams: it asks for the document, whatever the page wants.
  const proxy = await serving((request, response) => {
    void fetch(gateway.url + request.url, { headers: { accept: "application/json" } }).then(
      async (answer) => {
        const type = answer.headers.get("content-type") ?? "";
        response.writeHead(answer.status, { "content-type": type });
        response.end(Buffer.from(await answer.arrayBuffer()));
      },
    );
  });
  const { page, errors } = await opened(browser, proxy.url);
  await page.waitForSelector("text=Complete after");
  assert.deepEqual(await page.locator(".state").allTextContents(), ["ok", "ok", "ok"]);
  assert.deepEqual(errors, []);
  await page.close();
  await proxy.close();
});
