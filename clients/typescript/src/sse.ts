/**
 * The parser of server-sent events (WHATWG HTML, section 9.2.6).
 *
 * It takes bytes in pieces of any size. What is not ended by an empty line is never an event.
 */

/** One event as the stream has it. */
export interface ServerSentEvent {
  /** Its name; `message` if the stream gives none. */
  event: string;
  data: string;
}

export class EventStreamParser {
  /** The last identifier that the stream gave; empty if none. */
  lastEventId = "";
  /** The reconnection time in milliseconds, if the stream gave one. */
  retry: number | undefined;

  // Removes one byte order mark at the start, and replaces what is not UTF-8.
  readonly #decoder = new TextDecoder("utf-8");
  #line: string[] = []; // the pieces of a line that has not ended
  #skipsLineFeed = false; // after a carriage return, which may be half of a line end
  #event = "";
  #id = "";
  #data: string[] = [];

  /** Takes the next bytes; returns the events that they end. */
  push(bytes: Uint8Array): ServerSentEvent[] {
    return this.#take(this.#decoder.decode(bytes, { stream: true }));
  }

  #take(text: string): ServerSentEvent[] {
    const events: ServerSentEvent[] = [];
    const ends = /[\r\n]/g;
    let start = 0;
    if (this.#skipsLineFeed && text !== "") {
      if (text.startsWith("\n")) start = 1;
      this.#skipsLineFeed = false;
    }
    ends.lastIndex = start;
    for (let end = ends.exec(text); end !== null; end = ends.exec(text)) {
      this.#line.push(text.slice(start, end.index));
      const event = this.#end(this.#line.join(""));
      if (event !== undefined) events.push(event);
      this.#line = [];
      start = end.index + 1;
      if (end[0] === "\r") {
        if (start === text.length) this.#skipsLineFeed = true;
        else if (text[start] === "\n") start += 1;
      }
      ends.lastIndex = start;
    }
    if (start < text.length) this.#line.push(text.slice(start));
    return events;
  }

  /** Takes a line; returns the event if the line ends one. */
  #end(line: string): ServerSentEvent | undefined {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^[0-9]+$/.test(value)) this.retry = Number(value);
    return undefined; // an empty field name is a comment
  }

  #dispatch(): ServerSentEvent | undefined {
    this.lastEventId = this.#id;
    const event = this.#event || "message";
    const data = this.#data;
    this.#event = "";
    this.#data = [];
    return data.length > 0 ? { event, data: data.join("\n") } : undefined;
  }
}
