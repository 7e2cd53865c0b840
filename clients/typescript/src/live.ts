/** A stream that does not end: it connects again, and goes on where it was. */

import type { AnyEvent } from "./fold.js";
import { InterruptedError, ProblemError, refusal } from "./problem.js";
import { EventStreamParser } from "./sse.js";
import { eventsOf } from "./stream.js";

/** How a live stream connects again. Times are in milliseconds. */
export interface LiveOptions {
  /** The wait before the first new attempt, unless the gateway asks for another; 1,000 by default. */
  minimumWait?: number;
  /** The wait doubles with each failure up to this; 30,000 by default. */
  maximumWait?: number;
  /** Without a byte for so long the connection is taken for dead; 45,000 by default. */
  idleTimeout?: number;
  /** Called when the connection is lost, with the cause and the wait until the next attempt. */
  onDisconnect?: (cause: unknown, wait: number) => void;
}

/** Sends one request: with the identifier of the last whole document, empty if there is none. */
export type Connect = (lastEventId: string, signal: AbortSignal) => Promise<Response>;

/**
 * Yields events, across as many connections as it takes, until the gateway ends the stream with
 * 204, answers with a problem that will not go away, or `signal` is aborted.
 */
export async function* liveEvents(
  connect: Connect,
  options: LiveOptions,
  signal: AbortSignal | undefined,
): AsyncGenerator<AnyEvent, void> {
  const { minimumWait = 1_000, maximumWait = 30_000, idleTimeout = 45_000 } = options;
  let lastEventId = "";
  let retry: number | undefined;
  for (let failures = 0; ; ) {
    const connection = new Connection(signal, idleTimeout);
    let cause: unknown;
    try {
      const response = await connect(lastEventId, connection.signal);
      if (response.status === 204) return;
      if (!response.ok) throw await refusal(response);
      const parser = new EventStreamParser();
      for await (const event of eventsOf(response, parser, connection.heard)) {
        failures = 0;
        // Between two whole documents there is nothing to go on from: the next connection begins anew.
        lastEventId = event.event === "complete" ? parser.lastEventId : "";
        yield event;
        retry = parser.retry ?? retry;
      }
      cause = new InterruptedError("the gateway closed the stream");
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof ProblemError && !mayGoAway(error)) throw error;
      cause = connection.idle ? new InterruptedError("the connection is silent") : error;
    } finally {
      connection.end();
    }
    const wait = waitAfter(cause, failures, retry ?? minimumWait, maximumWait);
    failures += 1;
    options.onDisconnect?.(cause, wait);
    await sleep(wait, signal);
  }
}

function mayGoAway(problem: ProblemError): boolean {
  return problem.status >= 500 || problem.status === 408 || problem.status === 429;
}

/** Returns a random wait, so that clients which lost their gateway together do not return together. */
function waitAfter(cause: unknown, failures: number, first: number, most: number): number {
  const longest = Math.min(most, first * 2 ** failures);
  const wait = longest * (0.5 + Math.random() / 2);
  const asked = cause instanceof ProblemError ? (cause.retryAfter ?? 0) * 1_000 : 0;
  return Math.max(wait, asked * (1 + Math.random() / 2));
}

/** One connection: it ends with the signal of the caller, or when it has been silent for too long. */
class Connection {
  /** It was ended because it was silent. */
  idle = false;
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #timeout: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(caller: AbortSignal | undefined, timeout: number) {
    this.#caller = caller;
    this.#timeout = timeout;
    caller?.throwIfAborted();
    caller?.addEventListener("abort", this.#abort);
    this.heard();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  readonly heard = (): void => {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.idle = true;
      this.#controller.abort();
    }, this.#timeout);
  };

  end(): void {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener("abort", this.#abort);
    this.#controller.abort();
  }

  readonly #abort = (): void => {
    this.#controller.abort(this.#caller?.reason);
  };
}

function sleep(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}
