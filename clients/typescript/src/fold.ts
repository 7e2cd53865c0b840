/**
 * The fold: turns the events of a stream into the document, as the gateway does.
 *
 * - `section` sets the value, the `meta` and the errors of one section, whatever was said before.
 * - `element` sets one value in the list or object of a section, at `index` or at `key`. The section
 *   follows with the whole value.
 * - `complete` sets `errors` and `meta` and brings the sections into the document's order. The
 *   document is whole.
 */

import type { SectionError, SectionMeta } from "./types.js";

/** An event of any dashboard's stream. */
export type AnyEvent =
  | { event: "section"; section: string; data: unknown; meta: SectionMeta; errors: SectionError[] }
  | {
      event: "element";
      section: string;
      key?: string;
      index?: number;
      data: unknown;
      meta: SectionMeta;
      errors: SectionError[];
    }
  | {
      event: "complete";
      errors: SectionError[];
      meta: { complete: boolean; sections: Record<string, SectionMeta> };
    };

/** A document of which not every section may have landed. */
export interface Folded {
  data: Record<string, unknown>;
  errors: SectionError[];
  meta: { complete: boolean; sections: Record<string, SectionMeta> };
}

/** Returns the document before the first event. */
export function nothing(): Folded {
  return { data: {}, errors: [], meta: { complete: false, sections: {} } };
}

/**
 * Returns the document after one event. `document` is not changed; what the event does not concern
 * is shared, so that comparing by identity finds what is new. An unknown event changes nothing.
 */
export function fold(document: Folded, event: AnyEvent): Folded {
  switch (event.event) {
    case "section": {
      const { section, data, meta, errors } = event;
      return {
        data: { ...document.data, [section]: data },
        errors: [...document.errors.filter((error) => error.section !== section), ...errors],
        meta: {
          complete: false,
          sections: { ...document.meta.sections, [section]: meta },
        },
      };
    }
    case "element": {
      const { section, errors } = event;
      const before = Object.hasOwn(document.data, section) ? document.data[section] : undefined;
      return {
        data: { ...document.data, [section]: placed(before, event) },
        errors: [...document.errors, ...errors],
        meta: { ...document.meta, complete: false },
      };
    }
    case "complete": {
      const names = Object.keys(event.meta.sections);
      const data = Object.fromEntries(names.map((name) => [name, document.data[name]]));
      return { data, errors: event.errors, meta: event.meta };
    }
    default:
      return document;
  }
}

function placed(before: unknown, { key, index, data }: AnyEvent & { event: "element" }): unknown {
  if (key !== undefined) return { ...(before as object | null | undefined), [key]: data };
  const elements = [...((before ?? []) as unknown[])];
  const place = index ?? elements.length;
  while (elements.length < place) elements.push(null);
  elements[place] = data;
  return elements;
}
