// Says each time in the reader's own zone under the pointer; the page itself has them in UTC.
"use strict";

const own = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

for (const time of document.querySelectorAll("time[datetime]")) {
  time.title = own.format(new Date(time.dateTime));
}
