/** How many come a second: by this second, or the one before, whichever has more. */
export class Rate {
  constructor() {
    this.second = 0;
    this.number = 0;
    this.before = 0;
  }

  /** Go on to a second. @param {number} second */
  go(second) {
    if (second === this.second) return;
    this.before = second === this.second + 1 ? this.number : 0;
    this.number = 0;
    this.second = second;
  }

  note() {
    this.go(Math.floor(performance.now() / 1_000));
    this.number += 1;
  }

  get perSecond() {
    this.go(Math.floor(performance.now() / 1_000));
    return Math.max(this.number, this.before);
  }
}
