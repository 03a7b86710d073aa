% # The controls of a list's columns, and what else it was asked for. Wants: page.
% for name, value in page.hidden.items():
  <input type="hidden" name="{{name}}" value="{{value}}">
% end
% if page.typed:
  <input type="hidden" name="_typed" value="{{page.typed}}">
% end
% if page.asking:
  <details class="narrowing{{" few" if page.few else ""}}"{{" open" if page.opened else ""}}><summary class="button">{{t("filter.title")}}</summary>
    <div class="controls">
{{!page.asking}}
    </div>
  </details>
% end
