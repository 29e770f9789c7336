import { onScopeDispose, ref, watch, type Ref } from "vue";

/** Whether an element has ever been near the visible part of the page: until then it need not be drawn. */
export function useHasBeenVisible(element: Readonly<Ref<HTMLElement | null>>): Readonly<Ref<boolean>> {
  const seen = ref(false);
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      seen.value = true;
      observer.disconnect();
    },
    { rootMargin: "50%" },
  );
  watch(element, (now) => {
    if (now && !seen.value) observer.observe(now);
  });
  onScopeDispose(() => {
    observer.disconnect();
  });
  return seen;
}
