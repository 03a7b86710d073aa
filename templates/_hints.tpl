% if field.help:
  <p class="help" id="{{field.id}}-help">{{field.help}}</p>
% end
% if getattr(field, "now", None):
  <dl class="versions"><div><dt>{{t("field.now")}}</dt><dd><bdi>{{field.now.now or "—"}}</bdi></dd></div><div><dt>{{field.now.label}}</dt><dd><bdi>{{field.now.yours or "—"}}</bdi></dd></div></dl>
% end
% if field.error:
  <p class="error" id="{{field.id}}-error">{{field.error}}</p>
% end
