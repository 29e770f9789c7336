import { onScopeDispose, readonly, ref, type Ref } from "vue";

/** Whether the viewer's system asks for dark pages. */
export function useDark(): Readonly<Ref<boolean>> {
  const query = window.matchMedia("(prefers-color-scheme: dark)");
  const dark = ref(query.matches);
  const change = (): void => {
    dark.value = query.matches;
  };
  query.addEventListener("change", change);
  onScopeDispose(() => {
    query.removeEventListener("change", change);
  });
  return readonly(dark);
}
