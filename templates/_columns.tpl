% # Which columns a list shows, and in which order. Wants: columns, hidden, action, all_href, t.
<details class="columns"><summary class="button">{{t("columns.title")}}</summary>
  <form class="panel" method="get" action="{{action}}">
%   for name, value in hidden.items():
    <input type="hidden" name="{{name}}" value="{{value}}">
%   end
    <fieldset><legend class="visually-hidden">{{t("columns.title")}}</legend>
    <ul>
%   for number, one in enumerate(columns):
      <li><div class="choice"><input type="checkbox" id="column-{{number}}" name="_columns" value="{{one.name}}"{{" checked" if one.shown else ""}}><label for="column-{{number}}"><bdi>{{one.title}}</bdi></label></div>
%     if one.up:
        <a href="{{one.up}}" aria-label="{{t("columns.earlier", name=one.title)}}">↑</a>
%     end
%     if one.down:
        <a href="{{one.down}}" aria-label="{{t("columns.later", name=one.title)}}">↓</a>
%     end
      </li>
%   end
    </ul></fieldset>
    <p class="actions"><button class="button small">{{t("table.show")}}</button>
%   if all_href:
      <a class="button small" href="{{all_href}}">{{t("columns.all")}}</a>
%   end
    </p>
  </form>
</details>
