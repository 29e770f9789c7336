import { readonly, ref } from "vue";

import { backoff } from "./live/backoff";

const troubles = ref(0);

/** How many works of {@link retryUntilDone} have failed and are tried again. */
export const tryingAgain = readonly(troubles);

/** Tries until the work succeeds: after waits that grow, and as soon as the network is back. */
export async function retryUntilDone<T>(work: () => Promise<T>): Promise<T> {
  for (let failures = 0; ; ) {
    try {
      const done = await work();
      if (failures > 0) troubles.value -= 1;
      return done;
    } catch (error) {
      console.error(error);
      if (failures === 0) troubles.value += 1;
      failures += 1;
      await new Promise<void>((resolve) => {
        const again = (): void => {
          clearTimeout(timer);
          window.removeEventListener("online", again);
          resolve();
        };
        const timer = setTimeout(again, backoff(failures, Math.random));
        window.addEventListener("online", again);
      });
    }
  }
}
