import { expect, test } from "vitest";

import { timeAgo } from "../src/format";

const NOW = Date.UTC(2026, 5, 15, 12);

test.each([
  [-3, "just now"],
  [0, "just now"],
  [9, "just now"],
  [42, "42 s ago"],
  [60, "1 min ago"],
  [59 * 60 + 59, "59 min ago"],
  [3_600, "1 h ago"],
  [86_399, "23 h ago"],
  [86_400, "1 d ago"],
  [7 * 86_400, "Jun 8, 2026"],
])("%d seconds ago reads %j", (seconds, text) => {
  expect(timeAgo(NOW - seconds * 1_000, NOW)).toBe(text);
});
