import { computed, ref, type ComputedRef } from "vue";

import { parseChannel } from "../channelName";
import { recall, remember } from "../storage";

const KEY = "fanfare.channels";
const RECENT = 12;

/** A channel that was watched on this device. */
export interface Place {
  login: string;
  displayName: string;
  avatarUrl: string;
  favourite: boolean;
}

/** What storage holds, as far as it can be read: it may be of another version, or somebody's doing. */
export function parsePlaces(stored: string | null): Place[] {
  let value: unknown;
  try {
    value = JSON.parse(stored ?? "[]");
  } catch {
    return [];
  }
  if (!Array.isArray(value)) return [];
  return value.flatMap((item: unknown) => {
    const { login, displayName, avatarUrl, favourite } = (item ?? {}) as Partial<Record<keyof Place, unknown>>;
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
export function visited(places: readonly Place[], place: Omit<Place, "favourite">): Place[] {
  const known = places.find(({ login }) => login === place.login);
  const all = [
    { ...place, favourite: known?.favourite ?? false },
    ...places.filter(({ login }) => login !== place.login),
  ];
  const recent = all.filter(({ favourite }) => !favourite).slice(0, RECENT);
  return all.filter((one) => one.favourite || recent.includes(one));
}

const places = ref<Place[]>(parsePlaces(recall(KEY)));

function keep(list: Place[]): void {
  places.value = list;
  remember(KEY, JSON.stringify(list));
}

// Another tab has changed the list.
window.addEventListener("storage", (event) => {
  if (event.key === KEY) places.value = parsePlaces(event.newValue);
});

export interface Places {
  /** The favourites first, each part with the channel that was watched last first. */
  places: ComputedRef<Place[]>;
  isFavourite: (login: string) => boolean;
  visit: (place: Omit<Place, "favourite">) => void;
  setFavourite: (login: string, favourite: boolean) => void;
  forget: (login: string) => void;
}

/** The channels of this device: kept here and nowhere else. */
export function usePlaces(): Places {
  return {
    places: computed(() => places.value.toSorted((a, b) => Number(b.favourite) - Number(a.favourite))),
    isFavourite: (login) => places.value.some((place) => place.login === login && place.favourite),
    visit(place) {
      keep(visited(places.value, place));
    },
    setFavourite(login, favourite) {
      const known = places.value.some((place) => place.login === login);
      const list = known ? places.value : visited(places.value, { login, displayName: login, avatarUrl: "" });
      keep(list.map((place) => (place.login === login ? { ...place, favourite } : place)));
    },
    forget(login) {
      keep(places.value.filter((place) => place.login !== login));
    },
  };
}
