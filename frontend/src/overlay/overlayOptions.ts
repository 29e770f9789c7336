import { FAMILIES, type Family } from "../events/eventTypes";

export const POSITIONS = ["top-left", "top", "top-right", "bottom-left", "bottom", "bottom-right"] as const;
export const SIZES = ["small", "medium", "large"] as const;
const SECONDS = { least: 2, most: 30, default: 6 };

/** How an overlay looks. It is the query of its address, so that a streamer can change it in OBS. */
export interface OverlayOptions {
  /** The families of events that are announced. */
  families: ReadonlySet<Family>;
  position: (typeof POSITIONS)[number];
  size: (typeof SIZES)[number];
  /** How long an alert stays, in seconds. */
  seconds: number;
}

/** The families that are announced by default. */
export const DEFAULT_FAMILIES: readonly Family[] = ["raids", "followers", "subs", "bits", "hype", "charity"];

function oneOf<T extends string>(values: readonly T[], value: string | null, fallback: T): T {
  return values.find((known) => known === value) ?? fallback;
}

/** Reads an address's query. What is missing or malformed is the default: nobody sees an error inside OBS. */
export function parseOptions(query: URLSearchParams): OverlayOptions {
  const asked = query.get("types")?.split(",") ?? [];
  const families = (Object.keys(FAMILIES) as Family[]).filter((family) => asked.includes(family));
  const seconds = Number(query.get("duration") ?? Number.NaN);
  return {
    families: new Set(families.length > 0 ? families : DEFAULT_FAMILIES),
    position: oneOf(POSITIONS, query.get("position"), "top"),
    size: oneOf(SIZES, query.get("size"), "medium"),
    seconds: Number.isFinite(seconds) ? Math.min(Math.max(seconds, SECONDS.least), SECONDS.most) : SECONDS.default,
  };
}

/** The query that {@link parseOptions} reads. */
export function formatOptions({ families, position, size, seconds }: OverlayOptions): string {
  return new URLSearchParams({
    types: [...families].join(","),
    position,
    size,
    duration: String(seconds),
  }).toString();
}

/**
 * The address to give to OBS. The key is in the fragment, which browsers keep to themselves: it reaches no server's log
 * and no Referer header.
 */
export function overlayAddress(origin: string, login: string, options: OverlayOptions, key: string): string {
  return `${origin}/overlay/${login}?${formatOptions(options)}#key=${encodeURIComponent(key)}`;
}

/** The key of an address's fragment; null without one. */
export function keyOf(fragment: string): string | null {
  return new URLSearchParams(fragment.replace(/^#/, "")).get("key");
}
