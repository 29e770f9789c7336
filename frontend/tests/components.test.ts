import { flushPromises, mount, type VueWrapper } from "@vue/test-utils";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { shallowRef } from "vue";
import { createMemoryHistory, createRouter } from "vue-router";

import { configKey } from "../src/composables/useConfig";
import EventItem from "../src/events/EventItem.vue";
import EventFeed from "../src/feed/EventFeed.vue";
import { INITIAL_STATE, type LiveState } from "../src/live/connection";
import { merge } from "../src/live/mergeEvents";
import ChannelForm from "../src/session/ChannelForm.vue";
import { SignInError } from "../src/session/session";
import { sessionKey } from "../src/session/useSession";
import { event } from "./events";
import { CONFIG, serveConfig } from "./siteConfig";

const testid = (name: string): string => `[data-testid="${name}"]`;

describe("the channel form", () => {
  beforeEach(() => {
    serveConfig();
  });

  function form(signedIn: boolean) {
    const session = { signedIn: shallowRef(signedIn), signIn: vi.fn(() => Promise.resolve()) };
    const page = { template: "<p />" };
    const router = createRouter({
      history: createMemoryHistory(),
      routes: [
        { path: "/", component: page },
        { path: "/watch/:channel", name: "watch", component: page },
      ],
    });
    const wrapper = mount(ChannelForm, {
      attachTo: document.body,
      global: {
        plugins: [router],
        provide: { [configKey as symbol]: CONFIG, [sessionKey as symbol]: session },
      },
    });
    return { wrapper, session, router };
  }

  test("says nothing before anything is typed", () => {
    const { wrapper } = form(false);
    expect(wrapper.get(testid("channel-input")).attributes("aria-invalid")).toBe("false");
  });

  test("says what is wrong while typing, where a screen reader finds it", async () => {
    const { wrapper } = form(false);
    const input = wrapper.get(testid("channel-input"));
    await input.setValue("two words");
    const problem = wrapper.get(testid("channel-problem"));
    expect(problem.text()).toContain("only letters");
    expect(input.attributes("aria-describedby")).toBe(problem.attributes("id"));
    expect(input.attributes("aria-invalid")).toBe("true");
    await input.setValue("twowords");
    expect(input.attributes("aria-invalid")).toBe("false");
  });

  test("requires a name: an empty form goes nowhere and leads back to the field", async () => {
    const { wrapper, session } = form(false);
    await wrapper.get(testid("channel-form")).trigger("submit");
    expect(session.signIn).not.toHaveBeenCalled();
    expect(wrapper.get(testid("channel-problem")).text()).toBe("Enter the name of a channel.");
    expect(document.activeElement).toBe(wrapper.get(testid("channel-input")).element);
  });

  test("starts the sign-in, which remembers the channel", async () => {
    const { wrapper, session } = form(false);
    await wrapper.get(testid("channel-input")).setValue("https://www.twitch.tv/Marlowe");
    await wrapper.get(testid("channel-form")).trigger("submit");
    await flushPromises();
    expect(session.signIn).toHaveBeenCalledWith("marlowe", "viewer");
  });

  test("loads the page anew when the stage has another way to sign in by now", async () => {
    const { wrapper, session } = form(false);
    const reload = vi.spyOn(window.location, "reload").mockReturnValue();
    const identity = { kind: "cognito", authority: "a", client_id: "c", domain: "https://d", provider: "T" };
    serveConfig({ ...CONFIG, identity: { ...identity, streamer_provider: "S" } });
    await wrapper.get(testid("channel-input")).setValue("marlowe");
    await wrapper.get(testid("channel-form")).trigger("submit");
    await flushPromises();
    expect(reload).toHaveBeenCalledOnce();
    expect(session.signIn).not.toHaveBeenCalled();
  });

  test("can be used again when the viewer stopped the browser on its way to the sign-in", async () => {
    const { wrapper, session } = form(false);
    // A page is not told that it was not left after all.
    session.signIn.mockReturnValue(new Promise(() => undefined));
    await wrapper.get(testid("channel-input")).setValue("marlowe");
    await wrapper.get(testid("channel-form")).trigger("submit");
    expect(wrapper.get(testid("channel-submit")).attributes()).not.toHaveProperty("disabled");
    await wrapper.get(testid("channel-form")).trigger("submit");
    await flushPromises();
    expect(session.signIn).toHaveBeenCalledTimes(2);
  });

  test("leads straight to the channel when signed in", async () => {
    const { wrapper, session, router } = form(true);
    await wrapper.get(testid("channel-input")).setValue("@Marlowe");
    await wrapper.get(testid("channel-form")).trigger("submit");
    await flushPromises();
    expect(session.signIn).not.toHaveBeenCalled();
    expect(router.currentRoute.value.path).toBe("/watch/marlowe");
  });

  test("says when the sign-in cannot be started", async () => {
    const { wrapper, session } = form(false);
    vi.spyOn(console, "error").mockReturnValue();
    session.signIn.mockRejectedValue(new Error("no crypto"));
    await wrapper.get(testid("channel-input")).setValue("marlowe");
    await wrapper.get(testid("channel-form")).trigger("submit");
    await flushPromises();
    expect(wrapper.get(testid("error")).text()).toContain("try again");
  });

  test("says what the sign-in needs", async () => {
    const { wrapper, session } = form(false);
    vi.spyOn(console, "error").mockReturnValue();
    session.signIn.mockRejectedValue(new SignInError("Allow cookies.", null));
    await wrapper.get(testid("channel-input")).setValue("marlowe");
    await wrapper.get(testid("channel-form")).trigger("submit");
    await flushPromises();
    expect(wrapper.get(testid("error")).text()).toBe("Allow cookies.");
  });
});

describe("an event", () => {
  test("shows hostile text as text, isolated from our words", () => {
    const title = '<img src=x onerror="alert(1)">\u202E';
    const wrapper = mount(EventItem, {
      props: {
        now: 0,
        event: event({ event_type: "channel.update", payload: { title, broadcaster_user_name: "<b>M</b>" } }),
      },
    });
    expect(wrapper.find("img, b").exists()).toBe(false);
    expect(wrapper.findAll("bdi").map((part) => part.text())).toEqual(["<b>M</b>", title]);
  });

  test("has its exact time, and how long ago that was", () => {
    const happened = event();
    const wrapper = mount(EventItem, { props: { event: happened, now: Date.parse(happened.occurred_at) + 120_000 } });
    expect(wrapper.get("time").text()).toBe("2 min ago");
    expect(wrapper.get("time").attributes("datetime")).toBe(happened.occurred_at);
    expect(wrapper.get("time").attributes("title")).toContain("2026");
  });
});

describe("the feed's widget", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  const live = (change: Partial<LiveState>): LiveState => ({ ...INITIAL_STATE, status: "live", record: "read", ...change });

  test("marks and announces what arrives, several at a time, but not what was there", async () => {
    const before = merge([], [event({ id: "a" })], "recorded");
    const wrapper = mount(EventFeed, { props: { login: "marlowe", live: live({ record: "unread" }) } });
    await wrapper.setProps({ live: live({ feed: before }) });
    expect(wrapper.findAll(".arrived")).toHaveLength(0);
    await wrapper.setProps({ live: live({ feed: merge(before, [event({ id: "b" }), event({ id: "c" })], "live") }) });
    await vi.advanceTimersByTimeAsync(300);
    expect(wrapper.findAll(testid("event")).map((item) => item.attributes("data-event-id"))).toEqual(["c", "b", "a"]);
    expect(wrapper.findAll(".arrived").map((item) => item.attributes("data-event-id"))).toEqual(["c", "b"]);
    expect(wrapper.get(testid("announcement")).text()).toBe("");
    await vi.advanceTimersByTimeAsync(2_000);
    expect(wrapper.get(testid("announcement")).text()).toBe("2 starts of a stream");
  });

  /** Enough of them to be told together. */
  const followers = (...names: string[]) =>
    names.map((user_name, second) =>
      event({
        id: user_name,
        event_type: "channel.follow",
        occurred_at: `2026-01-02T03:04:${String(second).padStart(2, "0")}Z`,
        payload: { user_name },
      }),
    );
  const ids = (wrapper: VueWrapper) => wrapper.findAll(testid("event")).map((item) => item.attributes("data-event-id"));

  test("shows a burst as one row, with who they were", () => {
    const feed = merge([], followers("Ada", "Ben", "Cleo", "Dee"), "live");
    const wrapper = mount(EventFeed, { props: { login: "marlowe", live: live({ feed }) } });
    expect(wrapper.findAll(testid("event"))).toHaveLength(1);
    expect(wrapper.get(testid("burst")).text()).toBe("4 new followers");
    expect(wrapper.get(testid("event-sentence")).text()).toContain("Dee, Cleo, Ben and 1 more");
  });

  test("stands still under a moving pointer, counts what came, and shows it when asked or left", async () => {
    const before = merge([], [event({ id: "a" })], "recorded");
    const wrapper = mount(EventFeed, { props: { login: "marlowe", live: live({ feed: before }) } });
    const list = wrapper.get(".scroll");
    await list.trigger("pointermove", { pointerType: "mouse" });
    const three = [event({ id: "b" }), event({ id: "c" }), event({ id: "d" })];
    await wrapper.setProps({ live: live({ feed: merge(before, three, "live") }) });
    await vi.advanceTimersByTimeAsync(300);
    expect(ids(wrapper)).toEqual(["a"]);
    expect(wrapper.get(testid("show-new")).text()).toBe("3 new");

    await wrapper.get(testid("show-new")).trigger("click");
    expect(ids(wrapper)).toEqual(["d", "c", "b", "a"]);
    expect(wrapper.find(testid("show-new")).exists()).toBe(false);

    await wrapper.setProps({ live: live({ feed: merge(before, [...three, event({ id: "e" })], "live") }) });
    await vi.advanceTimersByTimeAsync(300);
    expect(wrapper.get(testid("show-new")).text()).toBe("1 new");
    await list.trigger("pointerleave");
    expect(ids(wrapper)[0]).toBe("e");
  });

  test("follows again when the pointer has rested for long", async () => {
    const before = merge([], [event({ id: "a" })], "recorded");
    const wrapper = mount(EventFeed, { props: { login: "marlowe", live: live({ feed: before }) } });
    await wrapper.get(".scroll").trigger("pointermove", { pointerType: "mouse" });
    await wrapper.setProps({ live: live({ feed: merge(before, [event({ id: "b" })], "live") }) });
    await vi.advanceTimersByTimeAsync(300);
    expect(ids(wrapper)).toEqual(["a"]);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(ids(wrapper)).toEqual(["b", "a"]);
  });

  test("shows only what is chosen", async () => {
    const feed = merge([], [...followers("Ada"), event({ id: "raid", event_type: "channel.raid" })], "recorded");
    const wrapper = mount(EventFeed, { props: { login: "marlowe", live: live({ feed }) } });
    await wrapper.get('[data-family="raids"]').trigger("click");
    expect(ids(wrapper)).toEqual(["raid"]);
    await wrapper.get(testid("filter-all")).trigger("click");
    expect(ids(wrapper)).toHaveLength(2);
  });

  test("goes back page by page, past what it holds already, to the end", async () => {
    const all = Array.from({ length: 25 }, (_, n) =>
      event({ id: `e${n}`, event_type: "channel.raid", occurred_at: `2026-01-02T03:04:${String(59 - n).padStart(2, "0")}Z` }),
    );
    const fetch = vi.fn((url: string) => {
      const start = Number(new URL(url, "https://x").searchParams.get("before") ?? 0);
      const next = start + 10 < all.length ? String(start + 10) : null;
      return Promise.resolve(Response.json({ events: all.slice(start, start + 10), next }));
    });
    vi.stubGlobal("fetch", fetch);
    const feed = merge([], all.slice(0, 12), "recorded");
    const wrapper = mount(EventFeed, { props: { login: "marlowe", live: live({ feed }) } });
    expect(ids(wrapper)).toHaveLength(10);
    await wrapper.get(testid("earlier")).trigger("click");
    await flushPromises();
    expect(ids(wrapper)).toHaveLength(20);
    await wrapper.get(testid("earlier")).trigger("click");
    await flushPromises();
    expect(ids(wrapper)).toEqual(all.map(({ id }) => id));
    expect(wrapper.find(testid("history-end")).exists()).toBe(true);
    await wrapper.get(testid("back-to-live")).trigger("click");
    expect(ids(wrapper)).toHaveLength(10);
  });

  test("says when the history cannot be read, and reads it when asked again", async () => {
    const feed = merge([], Array.from({ length: 10 }, (_, n) => event({ id: `e${n}` })), "recorded");
    vi.stubGlobal("fetch", () => Promise.resolve(new Response(null, { status: 503 })));
    const wrapper = mount(EventFeed, { props: { login: "marlowe", live: live({ feed }) } });
    await wrapper.get(testid("earlier")).trigger("click");
    await flushPromises();
    expect(wrapper.get('[role="alert"]').text()).toContain("cannot be read");
    vi.stubGlobal("fetch", () => Promise.resolve(Response.json({ events: [], next: null })));
    await wrapper.get(testid("earlier")).trigger("click");
    await flushPromises();
    expect(wrapper.find(testid("history-end")).exists()).toBe(true);
  });

  test("says that nothing happened only when that is known", async () => {
    const wrapper = mount(EventFeed, { props: { login: "marlowe", live: live({ record: "unread" }) } });
    expect(wrapper.find(testid("no-events")).exists()).toBe(false);
    await wrapper.setProps({ live: live({}) });
    expect(wrapper.find(testid("no-events")).exists()).toBe(true);
  });

  test.each([
    [{ status: "live" }, "live", "", false],
    [{ status: "connecting" }, "connecting", "", false],
    [{ status: "reconnecting" }, "reconnecting", "broke off", false],
    [{ status: "reconnecting", retryAt: 12_000 }, "reconnecting", "again in 12 s", true],
    [{ status: "offline", retryAt: 12_000 }, "offline", "offline", true],
    [{ status: "limited", retryAt: 20_000 }, "limited", "There is a lot going on. Fanfare tries again in 20 s", false],
    [{ status: "limited", retryAt: 20_000, message: "Too many." }, "limited", "Too many. Fanfare tries again in 20 s", false],
    [{ status: "paused" }, "paused", "Paused", false],
    [{ status: "live", record: "failed" }, "live", "cannot be read", false],
  ] as const)("tells the connection's state: %j", async (change, name, notice, impatient) => {
    vi.setSystemTime(0);
    const wrapper = mount(EventFeed, { props: { login: "marlowe", live: live(change) } });
    expect(wrapper.get(testid("connection-state")).attributes("data-state")).toBe(name);
    const said = wrapper.find(testid("notice"));
    expect(said.exists() ? said.text() : "").toContain(notice);
    expect(said.exists()).toBe(notice !== "");
    expect(wrapper.find(testid("retry")).exists()).toBe(impatient);
    if (impatient) await wrapper.get(testid("retry")).trigger("click");
    expect(wrapper.emitted("retry") ?? []).toHaveLength(impatient ? 1 : 0);
  });

  test("counts down to the next attempt", async () => {
    vi.setSystemTime(0);
    const state = live({ status: "reconnecting", retryAt: 3_000 });
    const wrapper = mount(EventFeed, { props: { login: "marlowe", live: state } });
    const said: string[] = [];
    for (let second = 0; second < 4; second += 1) {
      said.push(/again (in \d s|now)/.exec(wrapper.get(testid("notice")).text())?.[1] ?? "");
      await vi.advanceTimersByTimeAsync(1_000);
    }
    expect(said).toEqual(["in 3 s", "in 2 s", "in 1 s", "now"]);
  });
});
