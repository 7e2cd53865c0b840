/** Runs what `docs/how-to/call-from-typescript.md` and the README show. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import ts from "typescript";

import { blocksOf, PAGE, type Block } from "./docs.js";
import { demo, PACKAGE, type Served } from "./gateway.js";

const PAGES = [PAGE, "clients/typescript/README.md"];
const EXAMPLES = PAGES.map((page) => ({ page, blocks: blocksOf(page) }));

mkdirSync(join(PACKAGE, "build"), { recursive: true });
const folder = mkdtempSync(join(PACKAGE, "build", "docs-"));
let served: Served;

before(async () => {
  served = await demo("--latency", "weather=50ms");
  install();
});
after(async () => {
  await served.close();
  rmSync(folder, { recursive: true });
});

/** Makes the package importable by its name, as `npm install` does. */
function install(): void {
  const home = join(folder, "node_modules", "aggregation-gateway-client");
  mkdirSync(home, { recursive: true });
  copyFileSync(join(PACKAGE, "package.json"), join(home, "package.json"));
  // A package of its own, so that the name is looked up and does not mean the folder above.
  writeFileSync(join(folder, "package.json"), '{"type": "module"}');
  copyFileSync(join(PACKAGE, "types", "shipped.d.ts"), join(folder, "api.d.ts"));
  const program = ts.createProgram([join(PACKAGE, "src", "index.ts")], {
    ...compilerOptions(),
    rootDir: join(PACKAGE, "src"),
    outDir: join(home, "dist"),
    declaration: true,
    noEmit: false,
  });
  assert.equal(program.emit().emitSkipped, false);
}

function compilerOptions(): ts.CompilerOptions {
  return {
    strict: true,
    noUncheckedIndexedAccess: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    moduleDetection: ts.ModuleDetectionKind.Force,
    lib: ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
    types: [],
    skipLibCheck: true,
    noEmit: true,
  };
}

function compiled({ name, code }: Block): string {
  const file = join(folder, `${name}.ts`);
  writeFileSync(file, code);
  const complaints = ts
    .getPreEmitDiagnostics(ts.createProgram([file], compilerOptions()))
    .map((one) => ts.flattenDiagnosticMessageText(one.messageText, "\n"));
  assert.deepEqual(complaints, []);
  const { outputText } = ts.transpileModule(code, { compilerOptions: compilerOptions() });
  return outputText.replaceAll("http://localhost:8000", served.url);
}

for (const { page, blocks } of EXAMPLES) {
  blocks.forEach((block, number) => {
    test(`example ${number + 1} of ${page}`, async () => {
      const script = compiled(block);
      if (block.where === "browser") return; // it compiles; the browser's suite runs it
      const file = join(folder, `${block.name}.mjs`);
      writeFileSync(file, script);
      const { stdout } = await promisify(execFile)(process.execPath, [file], { timeout: 60_000 });
      let rest = stdout.split("\n");
      for (const line of block.output) {
        assert.ok(rest.includes(line), `${line} is not printed, or too early:\n${stdout}`);
        rest = rest.slice(rest.indexOf(line) + 1);
      }
    });
  });
}

test("every way of the page is run", () => {
  assert.deepEqual(EXAMPLES[0]?.blocks.map(({ where }) => where), [
    "node", "node", "node", "node", "browser",
  ]);
  assert.ok((EXAMPLES[1]?.blocks.length ?? 0) > 0);
});
