import { readonly, ref, type Ref } from "vue";

import { useEventListener } from "./useEventListener";

/** Whether the viewer's system asks for dark pages. */
export function useDark(): Readonly<Ref<boolean>> {
  const query = window.matchMedia("(prefers-color-scheme: dark)");
  const dark = ref(query.matches);
  useEventListener(query, "change", () => {
    dark.value = query.matches;
  });
  return readonly(dark);
}
