import { onScopeDispose, readonly, ref, type Ref } from "vue";

import { serverNow } from "../serverTime";

/** The time, in ms since 1970, renewed often enough for "42 s ago". */
export function useNow(everyMs = 5_000): Readonly<Ref<number>> {
  const now = ref(serverNow());
  const timer = setInterval(() => {
    now.value = serverNow();
  }, everyMs);
  onScopeDispose(() => {
    clearInterval(timer);
  });
  return readonly(now);
}
