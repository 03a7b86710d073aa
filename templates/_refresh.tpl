% # Above the rows of a list that asks for them again by itself; its page closes the box around them. Wants: page.
<p class="note refreshed"><a class="button small" href="{{page.refresh_href}}">{{t("table.refresh")}}</a> <span id="refreshed"></span> <span class="visually-hidden" role="status"></span></p>
<div data-refresh="{{page.refresh_s}}" data-updated="{{t("table.updated")}}" data-changed="{{t("table.changed")}}" data-waits="{{t("table.waits")}}" data-stopped="{{t("table.stopped")}}">
