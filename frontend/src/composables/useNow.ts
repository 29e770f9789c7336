import { onScopeDispose, readonly, ref, type Ref } from "vue";

/** The time, in ms since 1970, renewed often enough for "42 s ago". */
export function useNow(everyMs = 5_000): Readonly<Ref<number>> {
  const now = ref(Date.now());
  const timer = setInterval(() => {
    now.value = Date.now();
  }, everyMs);
  onScopeDispose(() => {
    clearInterval(timer);
  });
  return readonly(now);
}
