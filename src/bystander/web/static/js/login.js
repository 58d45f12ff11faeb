// The login form works without this; here it only gives the field the focus after a wrong token.
import { $ } from "./dom.js";
import "./page.js";

if (!$("login-error").hidden) $("token").focus();
