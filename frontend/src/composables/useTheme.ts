import { computed, readonly, ref, type ComputedRef, type Ref } from "vue";

import { recall, remember } from "../storage";
import { useDark } from "./useDark";

export type Theme = "system" | "light" | "dark";

const KEY = "fanfare.theme";
const ORDER: Theme[] = ["system", "light", "dark"];

const theme = ref<Theme>("system");

/** Applies the choice that this device remembers. */
export function restoreTheme(): void {
  const stored = recall(KEY);
  apply(ORDER.find((known) => known === stored) ?? "system");
}

function apply(choice: Theme): void {
  theme.value = choice;
  if (choice === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
}

/** Whether pages are dark: the viewer's choice, else the system's. */
export function useTheme(): { theme: Readonly<Ref<Theme>>; dark: ComputedRef<boolean>; next: () => void } {
  const systemDark = useDark();
  return {
    theme: readonly(theme),
    dark: computed(() => (theme.value === "system" ? systemDark.value : theme.value === "dark")),
    next() {
      apply(ORDER[(ORDER.indexOf(theme.value) + 1) % ORDER.length] ?? "system");
      remember(KEY, theme.value);
    },
  };
}
