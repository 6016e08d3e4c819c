import { _, one, onPress } from "./dom.js";
import { Feed } from "./feed.js";
import { load } from "./load.js";

/**
 * Sending what was edited without leaving its page: the answer shows below the form, and grows while
 * it is under way; each try stays as a chip, which brings it back into the form.
 *
 * @param {HTMLFormElement} form
 * @param {(page: Document) => void} put Take what the form of another page holds.
 */
export const sending = (form, put) => {
  const answer = one("[data-answer]");
  const part = () => one("[data-part=tries]");
  let event = "";
  let feed = null;
  const show = (...content) => {
    answer.hidden = false;
    answer.replaceChildren(...content);
  };
  const showAnswer = (page) => {
    const pane = one("[data-pane]", page);
    event = pane.dataset.event;
    const told = one(".told", pane) ?? one(".told", answer); // that it was sent stays true
    show(...[told, one(".facts", pane), one("#answers", pane)].filter(Boolean));
  };
  const tries = async () => {
    const { page } = await load(form.action);
    part().replaceWith(one("[data-part=tries]", page));
  };
  const refresh = async () => {
    const sent = event;
    const { page } = await load(`${form.action.replace(/[^/]+\/edit$/, "")}${sent}`);
    if (sent === event && one("[data-pane]", page)) showAnswer(page);
    await tries();
  };
  form.addEventListener("submit", async (submitted) => {
    submitted.preventDefault();
    const body = new URLSearchParams(new FormData(form, submitted.submitter));
    try {
      const { answer: found, page } = await load(form.action, { method: "POST", body });
      if (found.url.includes("/login")) return location.assign(form.action);
      if (!found.ok || !one("[data-pane]", page)) return show(one(".problem", page) ?? one("main", page));
      showAnswer(page);
      feed ??= new Feed(document.body.dataset.position, { delivery: (delivery) => delivery.event === event && refresh() }, () => refresh());
      await tries();
    } catch {
      show(_("It could not be sent: the server is not there."));
    } finally {
      setTimeout(() => dispatchEvent(new Event("answered"))); // behind what has its buttons wait
      answer.scrollIntoView({ block: "nearest" });
    }
  });
  onPress(".try", async (link, pressed) => {
    if (pressed.ctrlKey || pressed.metaKey) return;
    pressed.preventDefault();
    put((await load(link.href)).page);
  });
};
