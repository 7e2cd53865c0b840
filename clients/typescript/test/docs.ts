/** The examples of the documentation. */

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { ROOT } from "./gateway.js";

/** The page that shows every way to call the gateway. */
export const PAGE = "docs/how-to/call-from-typescript.md";

/** An example of a page. */
export interface Block {
  name: string;
  /** `node` or `browser`. */
  where: string;
  code: string;
  /** Lines that it prints, in this order; it may print more. */
  output: string[];
}

/** Returns the examples of a page: blocks of TypeScript that say where they run. */
export function blocksOf(page: string): Block[] {
  const blocks: Block[] = [];
  const text = readFileSync(join(ROOT, page), "utf8");
  for (const [, head = "", code = ""] of text.matchAll(/^```(.*)\n([^]*?)^```$/gm)) {
    const where = /^ts run=(\w+)$/.exec(head)?.[1];
    if (where !== undefined) blocks.push({ name: `example${blocks.length}`, where, code, output: [] });
    else if (head === "text printed") blocks.at(-1)?.output.push(...code.trimEnd().split("\n"));
  }
  return blocks;
}
