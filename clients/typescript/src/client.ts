import { Batcher } from "./batch.js";
import type { AnyEvent } from "./fold.js";
import { liveEvents, type LiveOptions } from "./live.js";
import { InterruptedError, refusal } from "./problem.js";
import { pathOf, Sender, type ClientOptions, type Target } from "./request.js";
import { EventStreamParser } from "./sse.js";
import { DashboardStream, eventsOf } from "./stream.js";
import type {
  Arguments,
  DashboardOptions,
  DashboardPath,
  DocumentOf,
  EventOf,
  SectionOf,
  Selected,
} from "./types.js";

const EVENTS = "text/event-stream";

/**
 * A client of one gateway.
 *
 * `Paths` are the paths that `openapi-typescript` generates from `gateway openapi`.
 */
export class Client<Paths> {
  readonly #sender: Sender;
  readonly #batcher: Batcher;

  constructor(options: ClientOptions = {}) {
    this.#sender = new Sender(options);
    this.#batcher = new Batcher(this.#sender, options.maxBatch ?? 20);
  }

  /**
   * Returns a dashboard's document.
   *
   * Validators and freshness are left to the HTTP cache of the browser.
   *
   * @throws ProblemError if the answer is not a document.
   */
  async get<P extends DashboardPath<Paths>, S extends SectionOf<Paths, P> = SectionOf<Paths, P>>(
    path: P,
    ...[options]: Arguments<DashboardOptions<Paths, P, S>>
  ): Promise<Selected<DocumentOf<Paths, P>, S>> {
    const target: Target = options ?? {};
    try {
      const response = await this.#send(path, target, "application/json");
      return (await response.json()) as Selected<DocumentOf<Paths, P>, S>;
    } catch (error) {
      target.signal?.throwIfAborted(); // not every `fetch` rejects with the signal's reason
      throw error;
    }
  }

  /**
   * Returns a dashboard's events as the sections land. Nothing is sent before the iteration begins.
   *
   * The iteration throws `ProblemError` if there will be no document, and `InterruptedError` if the
   * connection is lost before the document is complete.
   */
  stream<P extends DashboardPath<Paths>, S extends SectionOf<Paths, P> = SectionOf<Paths, P>>(
    path: P,
    ...[options]: Arguments<DashboardOptions<Paths, P, S>>
  ): DashboardStream<EventOf<Paths, P, S>, Selected<DocumentOf<Paths, P>, S>> {
    return new DashboardStream(() => this.#events(path, options ?? {}));
  }

  /**
   * Returns a dashboard's events for as long as they are wanted: after the first whole document the
   * sections that change.
   *
   * It connects again when the connection is lost, and goes on where it was. The iteration ends when
   * the gateway says that there is no more to come, and throws `ProblemError` if a problem will not go
   * away, such as a 404.
   */
  live<P extends DashboardPath<Paths>, S extends SectionOf<Paths, P> = SectionOf<Paths, P>>(
    path: P,
    ...[options]: Arguments<DashboardOptions<Paths, P, S> & LiveOptions>
  ): DashboardStream<EventOf<Paths, P, S>, Selected<DocumentOf<Paths, P>, S>> {
    const target: Target & LiveOptions = options ?? {};
    return new DashboardStream(() =>
      liveEvents(
        (lastEventId, signal) =>
          this.#sender.send(
            pathOf(path, target),
            {
              headers: { accept: EVENTS, ...(lastEventId && { "last-event-id": lastEventId }) },
              cache: "no-store",
              signal,
            },
            target.headers,
          ),
        target,
        target.signal,
      ),
    );
  }

  /**
   * Returns a dashboard's document, as `get` does; the calls of one tick are one request, which answers
   * each as soon as its document is there.
   *
   * @throws ProblemError if the answer is not a document, or if the whole batch was refused.
   */
  async batch<P extends DashboardPath<Paths>, S extends SectionOf<Paths, P> = SectionOf<Paths, P>>(
    path: P,
    ...[options]: Arguments<Omit<DashboardOptions<Paths, P, S>, "headers">>
  ): Promise<Selected<DocumentOf<Paths, P>, S>> {
    const target: Target = options ?? {};
    const body = await this.#batcher.get(pathOf(path, target), target.signal);
    return body as Selected<DocumentOf<Paths, P>, S>;
  }

  async *#events(path: string, target: Target): AsyncGenerator<AnyEvent, void> {
    try {
      const response = await this.#send(path, target, EVENTS);
      for await (const event of eventsOf(response, new EventStreamParser())) {
        yield event;
        if (event.event === "complete") return;
      }
    } catch (error) {
      target.signal?.throwIfAborted(); // as above
      throw error;
    }
    throw new InterruptedError("the stream ended before the document was complete");
  }

  async #send(path: string, target: Target, accept: string): Promise<Response> {
    const init: RequestInit = { headers: { accept } };
    if (target.signal !== undefined) init.signal = target.signal;
    const response = await this.#sender.send(pathOf(path, target), init, target.headers);
    if (!response.ok) throw await refusal(response);
    return response;
  }
}

/** Returns a client; `createClient<paths>({ baseUrl: "https://api.example.com" })`. */
export function createClient<Paths>(options: ClientOptions = {}): Client<Paths> {
  return new Client<Paths>(options);
}
