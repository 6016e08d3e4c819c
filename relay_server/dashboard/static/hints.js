/**
 * What stands below the pointer in a row, whose link covers all of it, so that a press anywhere opens it:
 * whose a mark is and what it means, a time to the millisecond in UTC, a text that may be cut off.
 */
document.addEventListener("pointermove", ({ target, clientX, clientY }) => {
  const link = target.closest(".row-link");
  if (!link) return;
  const under = target === link ? document.elementsFromPoint(clientX, clientY)[1] : target;
  link.title = under.ariaLabel ?? under.dateTime ?? under.closest("bdi")?.textContent ?? "";
});
