/** Chromium for the tests, if it is installed. */

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium, type Browser, type Page } from "playwright-core";

import { serving, type Served } from "./gateway.js";

const CANDIDATES = [process.env["CHROMIUM"], "/usr/bin/chromium", "/usr/bin/google-chrome"];
const EXECUTABLE = CANDIDATES.find((path) => path !== undefined && existsSync(path));

/** Options of a test that needs Chromium: it is skipped, and says why, where there is none. */
export const IN_CHROMIUM = EXECUTABLE === undefined ? { skip: "Chromium is not installed" } : {};

/** Starts Chromium with an empty profile. */
export async function started(): Promise<Browser> {
  return await chromium.launch({
    executablePath: EXECUTABLE ?? "",
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** What a page did that it should not. */
export interface Watched {
  page: Page;
  /** URLs of other hosts that it asked. */
  foreign: string[];
  /** Errors of its scripts, and what its content security policy stopped. */
  errors: string[];
  /** Lets it ask another host from now on. */
  allow: (url: string) => void;
}

/** Opens a page, and notes the requests to hosts that are not of `own`. */
export async function opened(browser: Browser, url: string, ...own: string[]): Promise<Watched> {
  const page = await browser.newPage();
  const origins = [url, ...own].map((one) => new URL(one).origin);
  const allow = (one: string): void => void origins.push(new URL(one).origin);
  const watched: Watched = { page, foreign: [], errors: [], allow };
  page.on("request", (request) => {
    const asked = request.url();
    if (!asked.startsWith("data:") && !origins.includes(new URL(asked).origin)) {
      watched.foreign.push(asked);
    }
  });
  page.on("pageerror", (error) => watched.errors.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") watched.errors.push(message.text());
  });
  await page.goto(url);
  return watched;
}

const BUILT = fileURLToPath(new URL("../src/", import.meta.url));

/** Serves an empty page and the built client: an origin of its own. */
export async function frontend(): Promise<Served> {
  return await serving((request, response) => {
    const path = request.url ?? "/";
    if (path === "/") {
      response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>App</title>");
    } else if (extname(path) === ".js" && !path.includes("..")) {
      readFile(join(BUILT, path)).then(
        (bytes) => response.writeHead(200, { "content-type": "text/javascript" }).end(bytes),
        () => response.writeHead(404).end(),
      );
    } else {
      response.writeHead(404).end();
    }
  });
}
