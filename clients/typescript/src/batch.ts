/** Collects the requests of one tick into one `POST /batch`. */

import { InterruptedError, problemOf, refusal } from "./problem.js";
import type { Sender } from "./request.js";
import { bytesOf } from "./stream.js";

/** Settles one request. */
interface Waiting {
  path: string;
  resolve: (body: unknown) => void;
  reject: (reason: unknown) => void;
}

/** The answer to one request of a batch. */
interface Part {
  id: string;
  status: number;
  headers?: Record<string, string>;
  body?: unknown;
}

/** Sends what is asked in one tick together. */
export class Batcher {
  readonly #sender: Sender;
  readonly #most: number;
  #open: Batch | undefined;

  /** @param most The most requests of one batch; `web.batch.max_requests` of the gateway. */
  constructor(sender: Sender, most: number) {
    this.#sender = sender;
    this.#most = most;
  }

  /** Returns the document at `path`. */
  async get(path: string, signal: AbortSignal | undefined): Promise<unknown> {
    signal?.throwIfAborted();
    let batch = this.#open;
    if (batch === undefined || batch.size === this.#most) {
      const made = new Batch();
      this.#open = batch = made;
      setTimeout(() => {
        if (this.#open === made) this.#open = undefined;
        void made.send(this.#sender);
      });
    }
    return await batch.add(path, signal);
  }
}

class Batch {
  readonly #waiting = new Map<string, Waiting>();
  readonly #controller = new AbortController();
  #count = 0;
  #sent = false;

  get size(): number {
    return this.#waiting.size;
  }

  /** Adds a request. Aborting it leaves the others alone; once all are aborted, the batch is. */
  add(path: string, signal: AbortSignal | undefined): Promise<unknown> {
    const id = String(this.#count++);
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        this.#settle(id)?.reject(signal?.reason);
        if (this.#sent && this.#waiting.size === 0) this.#controller.abort();
      };
      const settled = (settle: (value: unknown) => void) => (value: unknown) => {
        signal?.removeEventListener("abort", abort);
        settle(value);
      };
      signal?.addEventListener("abort", abort);
      this.#waiting.set(id, { path, resolve: settled(resolve), reject: settled(reject) });
    });
  }

  async send(sender: Sender): Promise<void> {
    this.#sent = true;
    if (this.#waiting.size === 0) return;
    try {
      const requests = [...this.#waiting].map(([id, { path }]) => ({ id, path }));
      const response = await sender.send("/batch", {
        method: "POST",
        headers: { accept: "application/jsonl", "content-type": "application/json" },
        body: JSON.stringify({ requests }),
        signal: this.#controller.signal,
      });
      if (!response.ok) throw await refusal(response);
      for await (const line of linesOf(response)) this.#answered(JSON.parse(line) as Part);
      throw new InterruptedError("the batch ended before every answer had come");
    } catch (error) {
      for (const id of [...this.#waiting.keys()]) this.#settle(id)?.reject(error);
    }
  }

  #answered(part: Part): void {
    const request = this.#settle(part.id);
    if (part.status >= 200 && part.status < 300) request?.resolve(part.body);
    else request?.reject(problemOf(part.body, part.status, "", retryAfter(part.headers)));
  }

  #settle(id: string): Waiting | undefined {
    const request = this.#waiting.get(id);
    this.#waiting.delete(id);
    return request;
  }
}

function retryAfter(headers: Record<string, string> = {}): number | undefined {
  const seconds = Number(headers["retry-after"]);
  return Number.isInteger(seconds) ? seconds : undefined;
}

/** Yields the lines of a response's content that are not empty. */
async function* linesOf(response: Response): AsyncGenerator<string, void> {
  const decoder = new TextDecoder();
  let begun: string[] = [];
  for await (const bytes of bytesOf(response)) {
    const [first = "", ...others] = decoder.decode(bytes, { stream: true }).split("\n");
    begun.push(first);
    for (const other of others) {
      const line = begun.join("");
      if (line !== "") yield line;
      begun = [other];
    }
  }
  const last = begun.join("");
  if (last !== "") yield last;
}
