// Where a page's script begins: each module looks after one thing.
import { watchActions } from "./actions.js";
import { watchCheckAll } from "./check.js";
import { rememberLanguage } from "./language.js";
import { startLive } from "./live.js";
import { watchNavigation } from "./navigation.js";
import { startSession } from "./session.js";
import { startTimes } from "./times.js";

rememberLanguage();
startTimes();
watchActions();
watchCheckAll();
watchNavigation();
await startSession();
startLive();
