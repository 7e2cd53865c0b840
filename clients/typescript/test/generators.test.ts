/** What type generators make of the shipped configuration's OpenAPI document. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import ts from "typescript";

import { GATEWAY, PACKAGE, ROOT } from "./gateway.js";

// Below the package, so that the compiler finds what the generated code imports.
const folder = mkdtempSync(join(PACKAGE, "build", "generated-"));
after(() => rmSync(folder, { recursive: true }));

const document = execFileSync(GATEWAY, ["openapi", "-c", join(ROOT, "config/gateway.yaml")], {
  encoding: "utf8",
});

function run(program: string, ...options: string[]): void {
  execFileSync(join(PACKAGE, "node_modules/.bin", program), options, { cwd: folder, stdio: "pipe" });
}

/** Returns the compiler's complaints about these files. */
function complaints(...files: string[]): string[] {
  const program = ts.createProgram(
    files.map((file) => join(folder, file)),
    {
      strict: true,
      noUncheckedIndexedAccess: true,
      noEmit: true,
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      moduleResolution: ts.ModuleResolutionKind.Bundler,
      lib: ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
      types: [],
    },
  );
  return ts
    .getPreEmitDiagnostics(program)
    .map((one) => ts.flattenDiagnosticMessageText(one.messageText, "\n"));
}

test("the types of the package are fresh: `npm run generate` writes them", () => {
  writeFileSync(join(folder, "openapi.json"), document);
  run("openapi-typescript", "openapi.json", "-o", "shipped.d.ts");
  const fresh = readFileSync(join(folder, "shipped.d.ts"), "utf8");
  assert.equal(readFileSync(join(PACKAGE, "types/shipped.d.ts"), "utf8"), fresh);
});

test("openapi-typescript: a required section is never null, an optional one may be", () => {
  const use = `
    import type { paths, components } from "./shipped.js";
    type Answer = paths["/dashboard/{user_id}"]["get"]["responses"][200]["content"]["application/json"];
    declare const answer: Answer;
    export const name: string = answer.data.profile.name;
    export const titles: string[] | undefined = answer.data.posts?.map((post) => post.title);
    // @ts-expect-error
    export const first = answer.data.posts[0];
    export const state: "ok" | "stale" = answer.meta.sections.profile.state;
    export const events: components["schemas"]["UserDashboardEvent"][] = [];
  `;
  writeFileSync(join(folder, "openapi.json"), document);
  run("openapi-typescript", "openapi.json", "-o", "shipped.d.ts");
  writeFileSync(join(folder, "use.ts"), use);
  assert.deepEqual(complaints("use.ts"), []);
});

test("@hey-api/openapi-ts: its client compiles, and so does a use of it", () => {
  const use = `
    import { userDashboard } from "./hey/sdk.gen";
    import type { UserDashboardProfile } from "./hey/types.gen";
    export async function ask(): Promise<string> {
      const { data } = await userDashboard({ path: { user_id: 1 }, throwOnError: true });
      const profile: UserDashboardProfile = data.data.profile;
      const name: string = data.data.profile.name;
      // @ts-expect-error
      void data.data.posts[0];
      return name + profile.name;
    }
  `;
  writeFileSync(join(folder, "openapi.json"), document);
  run("openapi-ts", "-i", "openapi.json", "-o", "hey", "-c", "@hey-api/client-fetch");
  writeFileSync(join(folder, "hey.ts"), use);
  assert.deepEqual(complaints("hey.ts"), []);
});
