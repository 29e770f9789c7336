import { ref, type Ref } from "vue";

import { SignInError } from "./session";
import { useSession } from "./useSession";

/** Starts the sign-in; `problem` is why it could not be started, if it could not. */
export function useSignIn(): {
  signIn: (channel: string, as?: "viewer" | "streamer") => Promise<void>;
  problem: Readonly<Ref<string>>;
} {
  const session = useSession();
  const problem = ref("");
  async function signIn(channel: string, as: "viewer" | "streamer" = "viewer"): Promise<void> {
    problem.value = "";
    try {
      await session.signIn(channel, as);
    } catch (error) {
      console.error(error);
      problem.value =
        error instanceof SignInError ? error.message : "The sign-in could not be started. Please try again.";
    }
  }
  return { signIn, problem };
}
