import { fold, nothing, type AnyEvent, type Folded } from "./fold.js";
import { InterruptedError, problemOf } from "./problem.js";
import { EventStreamParser } from "./sse.js";
import type { AnyDocument } from "./types.js";

/** A document of which only some sections have landed yet. */
export interface PartialDocument<D extends AnyDocument> {
  data: Partial<D["data"]>;
  errors: D["errors"];
  meta: { complete: boolean; sections: Partial<D["meta"]["sections"]> };
}

/**
 * The events of a dashboard as they arrive.
 *
 * Iterate over the events, over `documents()`, or await `document()`; one of them, once. The request
 * is sent when the iteration begins, and leaving the loop ends it.
 */
export class DashboardStream<E, D extends AnyDocument> implements AsyncIterable<E> {
  readonly #events: () => AsyncGenerator<AnyEvent, void>;

  constructor(events: () => AsyncGenerator<AnyEvent, void>) {
    this.#events = events;
  }

  [Symbol.asyncIterator](): AsyncGenerator<E, void> {
    return this.#events() as AsyncGenerator<E, void>;
  }

  /** Yields the document so far after each event; sections that have not landed are absent. */
  async *documents(): AsyncGenerator<PartialDocument<D>, void> {
    let document: Folded = nothing();
    for await (const event of this.#events()) {
      document = fold(document, event);
      yield document as PartialDocument<D>;
    }
  }

  /** Returns the document once it is complete. */
  async document(): Promise<D> {
    let document: Folded = nothing();
    for await (const event of this.#events()) {
      document = fold(document, event);
      if (event.event === "complete") return document as unknown as D;
    }
    throw new InterruptedError("the stream ended before the document was complete");
  }
}

/**
 * Yields the events of a response's content until it ends.
 *
 * @throws ProblemError at the event `problem`.
 */
export async function* eventsOf(
  response: Response,
  parser: EventStreamParser,
  onBytes: () => void = () => {},
): AsyncGenerator<AnyEvent, void> {
  for await (const bytes of bytesOf(response, onBytes)) {
    for (const { event, data } of parser.push(bytes)) {
      if (event === "problem") throw problemOf(parsed(data), 500);
      yield { event, ...(parsed(data) as object) } as AnyEvent;
    }
  }
}

function parsed(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    throw new InterruptedError("an event is not JSON");
  }
}

/** Yields the content of a response; ends the request when the iteration is left. */
export async function* bytesOf(
  response: Response,
  onBytes: () => void = () => {},
): AsyncGenerator<Uint8Array, void> {
  if (response.body === null) return;
  // Not every browser can iterate over a stream.
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onBytes();
      yield value;
    }
  } finally {
    // It has failed or ended already where this rejects.
    await reader.cancel().catch(() => {});
  }
}
