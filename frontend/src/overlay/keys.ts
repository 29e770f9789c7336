import { answer } from "../api";

const base = (login: string): string => `/api/overlays/${encodeURIComponent(login)}`;

/** Where an overlay asks to follow its channel, with its key instead of a viewer's token. */
export const overlayWatchUrl = (login: string): string => `${base(login)}/watch`;

type Fetch = typeof globalThis.fetch;

/**
 * Makes a key for the viewer's overlay of a channel; the one before stops working. Throws `ApiError`, or what `fetch`
 * throws when there is no connection.
 */
export async function makeKey(fetch: Fetch, login: string, accessToken: string): Promise<string> {
  const headers = { Authorization: `Bearer ${accessToken}` };
  const body = await answer(await fetch(`${base(login)}/key`, { method: "POST", headers }));
  return (body as { key: string }).key;
}

/** Ends the viewer's overlay of a channel: its key stops working. Throws as {@link makeKey} does. */
export async function revokeKey(fetch: Fetch, login: string, accessToken: string): Promise<void> {
  const headers = { Authorization: `Bearer ${accessToken}` };
  const response = await fetch(`${base(login)}/key`, { method: "DELETE", headers });
  if (!response.ok) await answer(response);
}
