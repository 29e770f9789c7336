import { ref, type Ref } from "vue";

import { useConfig } from "../composables/useConfig";
import { loadConfig } from "../config";
import { SignInError } from "./session";
import { useSession } from "./useSession";

/** Starts the sign-in; `problem` is why it could not be started, if it could not. */
export function useSignIn(): {
  signIn: (channel: string, as?: "viewer" | "streamer") => Promise<void>;
  problem: Readonly<Ref<string>>;
} {
  const session = useSession();
  const { identity } = useConfig();
  const problem = ref("");
  async function signIn(channel: string, as: "viewer" | "streamer" = "viewer"): Promise<void> {
    problem.value = "";
    try {
      // A page that has been open for days may know a way to sign in that the stage no longer has.
      const now = (await loadConfig()).identity;
      if (JSON.stringify(now) === JSON.stringify(identity)) await session.signIn(channel, as);
      else window.location.reload();
    } catch (error) {
      console.error(error);
      problem.value =
        error instanceof SignInError ? error.message : "The sign-in could not be started. Please try again.";
    }
  }
  return { signIn, problem };
}
