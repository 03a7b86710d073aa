% rebase('layout.tpl')
<div class="head">
  <div><h1>{{page.title}}</h1><p class="note">{{t("outbox.note")}}</p></div>
</div>
<form class="filter" method="get" action="{{page.action}}" role="search" data-tidy>
  <div class="field"><label for="f-show">{{t("outbox.state")}}</label>
    <select id="f-show" name="show">
% for name, words in page.states.items():
      <option value="{{name}}"{{" selected" if name == page.show else ""}}>{{words}}</option>
% end
    </select></div>
  <div class="field search"><label for="table-search">{{t("table.search")}}</label><input type="search" id="table-search" name="_q" value="{{page.search or ''}}" dir="auto"></div>
% include('_narrowing.tpl')
  <button class="button">{{t("table.show")}}</button>
</form>
% include('_chips.tpl')
% if page.lines:
<ul class="rows">
%   for line in page.lines:
  <li>
    <div class="main"><a href="{{line.href}}"><bdi>{{line.about or line.event}}</bdi></a>
      <span class="pill{{" bad" if line.dead else ""}}">{{line.state}}</span>
      <p class="note">{{line.event + ", " if line.about else ""}}{{line.channel}}\\
%     if line.to:
: <bdi>{{line.to}}</bdi>\\
%     end
</p></div>
    <p>{{line.why}}</p>
    <p class="note times">{{t("outbox.since", at=line.at)}}\\
%     if line.next_at:
<br>{{t("outbox.next", at=line.next_at)}}\\
%     end
</p>
    <div class="act">
% include('_notice_buttons.tpl', line=line)
    </div>
  </li>
%   end
</ul>
% else:
<div class="empty"><p>{{page.empty if page.search else t("outbox.none")}}</p></div>
% end
% include('_under.tpl')
