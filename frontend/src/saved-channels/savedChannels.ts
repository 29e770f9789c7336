import { computed, ref } from "vue";

import { parseChannel } from "../channelName";
import { recall, remember } from "../storage";

const KEY = "fanfare.channels";
const RECENT = 12;

/** A channel that was watched on this device. */
export interface SavedChannel {
  login: string;
  displayName: string;
  avatarUrl: string;
  favourite: boolean;
}

/** What storage holds, as far as it can be read: another version or a person may have written it. */
export function parseSavedChannels(stored: string | null): SavedChannel[] {
  let value: unknown;
  try {
    value = JSON.parse(stored ?? "[]");
  } catch {
    return [];
  }
  if (!Array.isArray(value)) return [];
  return value.flatMap((item: unknown) => {
    const { login, displayName, avatarUrl, favourite } = (item ?? {}) as Partial<Record<keyof SavedChannel, unknown>>;
    const parsed = typeof login === "string" ? parseChannel(login) : null;
    if (!parsed || !("login" in parsed)) return [];
    return [
      {
        login: parsed.login,
        displayName: typeof displayName === "string" ? displayName : parsed.login,
        avatarUrl: typeof avatarUrl === "string" ? avatarUrl : "",
        favourite: favourite === true,
      },
    ];
  });
}

/** The list with this channel first. Favourites stay; of the others, those that were watched last. */
export function visited(channels: readonly SavedChannel[], channel: Omit<SavedChannel, "favourite">): SavedChannel[] {
  const known = channels.find(({ login }) => login === channel.login);
  const all = [
    { ...channel, favourite: known?.favourite ?? false },
    ...channels.filter(({ login }) => login !== channel.login),
  ];
  const recent = all.filter(({ favourite }) => !favourite).slice(0, RECENT);
  return all.filter((one) => one.favourite || recent.includes(one));
}

// Kept on this device and nowhere else.
const channels = ref<SavedChannel[]>(parseSavedChannels(recall(KEY)));

function save(list: SavedChannel[]): void {
  channels.value = list;
  remember(KEY, JSON.stringify(list));
}

// Another tab has changed the list.
window.addEventListener("storage", (event) => {
  if (event.key === KEY) channels.value = parseSavedChannels(event.newValue);
});

/** The channels of this device: the favourites first, each part with the channel that was watched last first. */
export const savedChannels = computed(() =>
  [...channels.value].sort((a, b) => Number(b.favourite) - Number(a.favourite)),
);

export function isFavourite(login: string): boolean {
  return channels.value.some((channel) => channel.login === login && channel.favourite);
}

export function visit(channel: Omit<SavedChannel, "favourite">): void {
  save(visited(channels.value, channel));
}

export function setFavourite(login: string, favourite: boolean): void {
  const known = channels.value.some((channel) => channel.login === login);
  const list = known ? channels.value : visited(channels.value, { login, displayName: login, avatarUrl: "" });
  save(list.map((channel) => (channel.login === login ? { ...channel, favourite } : channel)));
}

export function forget(login: string): void {
  save(channels.value.filter((channel) => channel.login !== login));
}
