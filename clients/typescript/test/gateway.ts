/** Gateways for the tests: real processes, and servers that answer as a test wants. */

import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Returns the folder above this file that has a file of this name, wherever the tests are built. */
function above(name: string): string {
  for (let folder = new URL("./", import.meta.url); ; folder = new URL("../", folder)) {
    if (existsSync(new URL(name, folder))) return fileURLToPath(folder);
    if (folder.pathname === "/") throw new Error(`there is no ${name} above the tests`);
  }
}

/** The root of the project. */
export const ROOT = above("pyproject.toml");
/** The folder of this package. */
export const PACKAGE = above("package.json");
/** The command `gateway`. */
export const GATEWAY = process.env["GATEWAY"] ?? join(ROOT, ".venv/bin/gateway");

export interface Served {
  url: string;
  close: () => Promise<void>;
}

/** Runs `gateway demo` on a free port. */
export async function demo(...options: string[]): Promise<Served> {
  const port = await freePort();
  return await running(port, ["demo", "--port", String(port), ...options]);
}

/** Runs `gateway run` with a configuration, on a free port by default. */
export async function gateway(configuration: string, port?: number): Promise<Served> {
  const folder = mkdtempSync(join(tmpdir(), "gateway-client-"));
  const file = join(folder, "gateway.yaml");
  writeFileSync(file, configuration);
  const at = port ?? (await freePort());
  return await running(at, ["run", "--port", String(at), "-c", file]);
}

/** Answers requests on a free port of the loopback. */
export async function serving(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<Served> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function running(port: number, command: string[]): Promise<Served> {
  const environment = { ...process.env, GATEWAY_ADMIN_PORT: "0", GATEWAY_DRAIN_DELAY: "0" };
  const child = spawn(GATEWAY, command, { cwd: ROOT, env: environment, stdio: "pipe" });
  const said: string[] = [];
  child.stdout.on("data", (bytes) => said.push(String(bytes)));
  child.stderr.on("data", (bytes) => said.push(String(bytes)));
  const url = `http://127.0.0.1:${port}`;
  for (let attempts = 0; ; attempts++) {
    try {
      await fetch(`${url}/healthz`);
      break;
    } catch (error) {
      if (child.exitCode !== null || attempts > 1_200) {
        child.kill("SIGKILL");
        throw new Error(`gateway ${command.join(" ")} did not start:\n${said.join("")}`, {
          cause: error,
        });
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  return { url, close: () => ended(child) };
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) {
      resolve();
      return;
    }
    child.once("exit", () => resolve());
    child.kill("SIGTERM");
  });
}

async function freePort(): Promise<number> {
  const server = await serving(() => {});
  await server.close();
  return Number(new URL(server.url).port);
}
