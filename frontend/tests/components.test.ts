import { flushPromises, mount } from "@vue/test-utils";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { shallowRef } from "vue";
import { createMemoryHistory, createRouter } from "vue-router";

import ChannelForm from "../src/components/ChannelForm.vue";
import EventFeed from "../src/components/EventFeed.vue";
import EventItem from "../src/components/EventItem.vue";
import { INITIAL_STATE, type LiveState } from "../src/live/connection";
import { merge } from "../src/live/feed";
import { sessionKey } from "../src/provided";
import { event } from "./events";

const testid = (name: string): string => `[data-testid="${name}"]`;

describe("the channel form", () => {
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
      global: { plugins: [router], provide: { [sessionKey as symbol]: session } },
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
    expect(session.signIn).toHaveBeenCalledWith("marlowe");
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
    const wrapper = mount(EventFeed, { props: { live: live({ record: "unread" }) } });
    await wrapper.setProps({ live: live({ feed: before }) });
    expect(wrapper.findAll(".arrived")).toHaveLength(0);
    await wrapper.setProps({ live: live({ feed: merge(before, [event({ id: "b" }), event({ id: "c" })], "live") }) });
    expect(wrapper.findAll(testid("event")).map((item) => item.attributes("data-event-id"))).toEqual(["c", "b", "a"]);
    expect(wrapper.findAll(".arrived").map((item) => item.attributes("data-event-id"))).toEqual(["c", "b"]);
    expect(wrapper.get(testid("announcement")).text()).toBe("");
    await vi.advanceTimersByTimeAsync(2_000);
    expect(wrapper.get(testid("announcement")).text()).toBe("2 new events");
  });

  test("says that nothing happened only when that is known", async () => {
    const wrapper = mount(EventFeed, { props: { live: live({ record: "unread" }) } });
    expect(wrapper.find(testid("no-events")).exists()).toBe(false);
    await wrapper.setProps({ live: live({}) });
    expect(wrapper.find(testid("no-events")).exists()).toBe(true);
  });

  test.each([
    [{ status: "live" }, "live", ""],
    [{ status: "connecting" }, "connecting", ""],
    [{ status: "reconnecting" }, "reconnecting", "broke off"],
    [{ status: "offline" }, "offline", "offline"],
    [{ status: "reconnecting", retryAt: 0 }, "reconnecting", "asked to wait"],
    [{ status: "live", record: "failed" }, "live", "cannot be read"],
  ] as const)("tells the connection's state: %j", (change, name, notice) => {
    const wrapper = mount(EventFeed, { props: { live: live(change) } });
    expect(wrapper.get(testid("connection-state")).attributes("data-state")).toBe(name);
    const said = wrapper.find(testid("notice"));
    expect(said.exists() ? said.text() : "").toContain(notice);
    expect(said.exists()).toBe(notice !== "");
  });
});
