const NUMBER = new Intl.NumberFormat("en");

/** "1,234". */
export function formatNumber(n: number): string {
  return NUMBER.format(n);
}

/** "$1,234.50". Raises RangeError if the currency's code or the number of decimals is not one. */
export function formatMoney(amount: number, currency: string, decimals: number): string {
  const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return new Intl.NumberFormat("en", { style: "currency", currency, ...digits }).format(amount);
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** How long ago something was, in short. A time in the future, as of a clock that is fast, is "just now". */
export function timeAgo(then: number, now: number): string {
  const ago = now - then;
  if (ago < 10 * SECOND) return "just now";
  if (ago < MINUTE) return `${Math.floor(ago / SECOND)} s ago`;
  if (ago < HOUR) return `${Math.floor(ago / MINUTE)} min ago`;
  if (ago < DAY) return `${Math.floor(ago / HOUR)} h ago`;
  if (ago < 7 * DAY) return `${Math.floor(ago / DAY)} d ago`;
  return new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric" }).format(then);
}

/** The exact time, in the viewer's own zone. */
export function exactTime(then: number): string {
  return new Intl.DateTimeFormat("en", { dateStyle: "full", timeStyle: "medium" }).format(then);
}
