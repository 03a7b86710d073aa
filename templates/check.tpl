% rebase('layout.tpl')
<div class="head">
  <div><h1>{{page.title}}</h1><p class="note">{{t("check.note")}}</p></div>
  <div class="tools"><a class="button" href="{{page.here}}">{{t("check.again")}}</a></div>
</div>
% if page.doing:
<p class="notice warn" role="status">{{t("check.going_on", what=page.doing)}}</p>
% elif not page.faults and not page.warnings:
<p class="notice good" role="status">{{t("check.in_order")}}</p>
% elif not page.faults:
<p class="notice good" role="status">{{t("check.no_fault")}}</p>
% end
% for heading, kind, found in (("check.faults", "bad", page.faults), ("check.warnings", "warn", page.warnings)):
%   if found:
<section>
<h2>{{t(heading)}}</h2>
<ul class="rows">
%     for one in found:
  <li class="two"><div class="main">\\
%       if one.place:
<code>{{one.place}}</code>\\
%       end
</div><p>{{one.text}}</p></li>
%     end
</ul>
</section>
%   end
% end
